# Brings the results out.
tar cf /dev/vdc -C /hap/out . && sync
echo 'hap> results written'
busybox reboot -f
