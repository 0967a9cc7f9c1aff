# The stage on this very host, in private namespaces: a root of its own over the host's, so that nothing of the
# host's is written to. here.sh SCRATCH
set -e
scratch=$1
mount --make-rprivate /
mkdir "$scratch/top" "$scratch/root"
mount -t tmpfs tmpfs "$scratch/top"
mkdir "$scratch/top/upper" "$scratch/top/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/top/upper,workdir=$scratch/top/work" "$scratch/root"
cd "$scratch/root"
# Not mounted: the sandboxes' root is an overlay on this one, which shows no mounts.
mkdir -p hap var/hap srv old
cp -r "$scratch/hap/." hap
mount --bind "$scratch/hap/out" hap/out
mount -t tmpfs tmpfs srv
chmod 1777 var/hap
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mountpoint -q sys/kernel/tracing || mount -t tracefs tracefs sys/kernel/tracing
mkdir run/hap
# crun refuses a host that has both kinds of cgroup.
if mountpoint -q sys/fs/cgroup/unified; then umount sys/fs/cgroup/unified; fi
# Not chroot: in a changed root the kernel makes no user namespaces, user_namespaces(7).
pivot_root . old
umount -l /old
/usr/bin/python3 /hap/guest/agent.py /hap/job.json /hap/out
echo 'hap> results written'
