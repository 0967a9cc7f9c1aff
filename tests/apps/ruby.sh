#!/bin/bash
# Ruby: threads, fibers, ractors, processes, sockets, files.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >main.rb <<'RUBY'
require 'socket'
require 'json'
require 'digest'
require 'open3'
require 'timeout'
require 'tempfile'
puts RUBY_ENGINE, (1..20).inject(:*), Digest::SHA256.hexdigest('x'), JSON.generate({ a: [1, nil, 'ü'] })
puts '== threads'
queue = Queue.new
threads = 4.times.map { |i| Thread.new { 100.times { |k| queue << i * k } } }
threads.each(&:join)
puts queue.size
mutex = Mutex.new
condition = ConditionVariable.new
ready = false
waiter = Thread.new { mutex.synchronize { condition.wait(mutex) until ready; puts 'woken' } }
mutex.synchronize { ready = true; condition.signal }
waiter.join
puts Fiber.new { |x| y = Fiber.yield(x + 1); y * 2 }.then { |f| [f.resume(1), f.resume(21)] }.inspect
$VERBOSE = nil
puts 3.times.map { |i| Ractor.new(i) { |n| n * n } }.map(&:take).inspect
begin
  Timeout.timeout(0.05) { sleep }
rescue Timeout::Error => e
  puts e.class
end
puts '== processes'
reader, writer = IO.pipe
pid = fork { reader.close; writer.puts 'from the child'; exit!(3) }
writer.close
puts reader.read
Process.wait(pid)
puts $?.exitstatus
out, status = Open3.capture2('tr a-z A-Z', stdin_data: 'captured')
puts out, status.success?
Signal.trap('USR1') { puts 'SIGUSR1' }
Process.kill('USR1', Process.pid)
sleep 0.01
puts `echo backticks`
begin
  Process.spawn('/no/such')
rescue Errno::ENOENT => e
  puts e.class
end
puts '== sockets'
server = TCPServer.new('127.0.0.1', 0)
Thread.new { client = server.accept; client.puts client.gets.reverse; client.close }
socket = TCPSocket.new('127.0.0.1', server.addr[1])
socket.puts 'olleh'
puts socket.read.strip
UNIXServer.open('socket') do |unix|
  other = UNIXSocket.open('socket')
  peer = unix.accept
  peer.send_io(File.open('/etc/hostname'))
  puts other.recv_io.class
end
puts '== files'
File.open('file', 'w') { |f| f.flock(File::LOCK_EX); f.write("line\n" * 100) }
puts File.size('file'), File.foreach('file').count, Dir.children('.').sort.inspect
Tempfile.create('x') { |f| f.write('temporary'); f.flush; puts File.read(f.path) }
puts Process.clock_gettime(Process::CLOCK_MONOTONIC) > 0, GC.start.inspect
begin
  def deep(n) = deep(n + 1) + 1
  deep(0)
rescue SystemStackError
  puts 'stack overflow'
end
RUBY
ruby main.rb
ruby -ne 'print $_.upcase if /a/' <<<"standard input has an a"
echo 'puts ARGV.sum(&:to_i)' | ruby - 1 2 3
erb -T - <<<'<% 3.times do |i| -%><%= i %> <% end -%>'
