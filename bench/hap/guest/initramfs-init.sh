#!/bin/busybox sh
# First program of the measuring machine: load the disk's drivers, unpack the input, go on in the real root.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in $(/bin/busybox cat /modules/order); do
  /bin/busybox insmod "/modules/$module" || exec /bin/busybox sh -c 'echo "hap> FAILED: insmod"; /bin/busybox reboot -f'
done
/bin/busybox mount -t ext4 /dev/vda /root && /bin/busybox mkdir -p /root/hap &&
  /bin/busybox tar xf /dev/vdb -C /root/hap || { echo 'hap> FAILED: no root'; /bin/busybox reboot -f; }
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /hap/guest/init.sh
