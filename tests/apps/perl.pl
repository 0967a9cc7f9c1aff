# Perl: files, processes, pipes, signals, sockets.
use strict;
use warnings;
use File::Find;
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IPC::Open3;
use POSIX qw(:sys_wait_h setsid);
use Socket;
use Time::HiRes qw(usleep time);
use Fcntl qw(:flock :seek);

$| = 1;
my $full = ($ENV{APP_SIZE} // '') eq 'full';
my $work = tempdir(CLEANUP => 1);
chdir $work or die;

print "== text\n";
my %count;
my $text = join ' ', map { ("alpha", "beta", "gamma")[$_ % 3] . ($_ % 7) } 1 .. ($full ? 200_000 : 20_000);
$count{$_}++ for $text =~ /(\w+)/g;
printf "%s %d\n", $_, $count{$_} for sort keys %count;
(my $copy = $text) =~ s/(\w)(\w*)/\U$1\E$2/g;
print substr($copy, 0, 40), "\n";
print join(',', map { sprintf '%03b', $_ } grep { $_ & 1 } 0 .. 7), "\n";

print "== files\n";
for my $i (1 .. ($full ? 2000 : 200)) {
  mkdir "d" . $i % 10;
  open my $f, '>', 'd' . $i % 10 . "/f$i" or die;
  print $f "content $i\n" x 3;
  close $f;
}
my ($files, $bytes) = (0, 0);
find(sub { if (-f) { $files++; $bytes += -s _ } }, '.');
print "$files $bytes\n";
open my $rw, '+>', 'random' or die;
print $rw 'x' x 1000;
seek $rw, 500, SEEK_SET;
print $rw 'middle';
seek $rw, 498, SEEK_SET;
read $rw, my $part, 10;
print "$part\n";
truncate $rw, 100;
print -s 'random', "\n";
flock $rw, LOCK_EX or die;
rename 'random', 'renamed';
symlink 'renamed', 'link';
print readlink('link'), ' ', (-l 'link' ? 'link' : ''), ' ', (stat 'link')[7], "\n";
utime 1_000_000_000, 1_000_000_000, 'renamed';
print +(stat 'renamed')[9], "\n";
print join(' ', sort glob 'd*'), "\n";
unlink 'missing' or print "$!\n";

print "== processes\n";
my @pids;
for my $n (1 .. 10) {
  my $pid = fork // die;
  exit $n unless $pid;
  push @pids, $pid;
}
print join(' ', map { waitpid $_, 0; $? >> 8 } @pids), "\n";
print `echo backticks; exit 3`, $? >> 8, "\n";
system 'sh', '-c', 'kill -TERM $$';
print $? & 127, "\n";
open my $sort, '|-', 'sort', '-n' or die;
print $sort "$_\n" for reverse 1 .. 5;
close $sort;
open my $from, '-|', 'seq 5 | tac' or die;
print join(' ', map { chomp; $_ } <$from>), "\n";
my $pid = open3(my $in, my $out, undef, 'cat');
print $in "through cat\n";
close $in;
print scalar <$out>;
waitpid $pid, 0;
pipe my $r, my $w;
if (!fork) { close $r; syswrite $w, 'x' x 100_000; exit }
close $w;
my ($total, $n) = (0, 0);
$total += $n while $n = sysread $r, my $buffer, 8192;
print "$total\n";
wait;

print "== signals\n";
my $got = 0;
$SIG{USR1} = sub { $got++ };
kill USR1 => $$ for 1 .. 5;
print "$got\n";
my $timed = eval { local $SIG{ALRM} = sub { die "alarm\n" }; Time::HiRes::alarm(0.05); select undef, undef, undef, 10; 0 };
print $@;
$SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 };
fork || exit for 1 .. 5;
usleep 1000 until wait == -1;
$SIG{CHLD} = 'DEFAULT';
my $child = fork // die;
if (!$child) { sleep 100; exit }
kill STOP => $child;
waitpid $child, WUNTRACED;
print WIFSTOPPED($?) ? "stopped\n" : "no\n";
kill KILL => $child;
kill CONT => $child;
waitpid $child, 0;
print $? & 127, "\n";

print "== sockets\n";
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, ReuseAddr => 1) or die;
my $port = $server->sockport;
if (!fork) {
  for (1 .. 5) {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die;
    print $c "request $_\n";
    my $line = <$c>;
    die unless $line eq "reply to request $_\n";
  }
  POSIX::_exit(0);
}
for (1 .. 5) {
  my $c = $server->accept;
  my $line = <$c>;
  print $c "reply to $line";
}
wait;
print $? >> 8, "\n";
socketpair my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die;
syswrite $a, 'pair';
print IO::Select->new($b)->can_read(5) ? "readable\n" : "no\n";
sysread $b, my $word, 10;
print "$word\n";

print "== modules\n";
require Digest::SHA;
print Digest::SHA::sha1_hex('bulkhead' x 1000), "\n";
require Storable;
Storable::store({a => [1, 2, {b => 3}]}, 'stored');
print Storable::retrieve('stored')->{a}[2]{b}, "\n";
require List::Util;
print List::Util::sum(1 .. 1000), "\n";
print POSIX::strftime('%Y-%m-%d', gmtime 0), "\n";
print( (POSIX::uname())[0], "\n");
chdir '/';
