#!/bin/busybox sh
# First process of a guest: mounts the host's root read-only with a layer in memory over it, and goes on there.
B=/bin/busybox

give_up() {
    echo "guest: $*"
    $B poweroff -f
}

$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs devtmpfs /dev

while read -r module; do
    $B insmod "/modules/$module" || give_up "module $module does not load"
done < /modules/order

# Loose caching: the host's files change under a guest only if somebody builds meanwhile.
PLAN9=trans=virtio,version=9p2000.L,msize=512000,cache=loose
$B mount -t 9p -o "ro,$PLAN9" root /host || give_up "the root cannot be mounted"
$B mount -t tmpfs -o mode=755 tmpfs /layer
$B mkdir /layer/upper /layer/work
$B mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root || give_up "no overlay"

$B mount -t tmpfs -o mode=755 tmpfs /root/run
$B mkdir -p /root/run/guest /root/run/modules
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none guest /root/run/guest || give_up "no share"
$B mount -t 9p -o "ro,$PLAN9" modules /root/run/modules || give_up "the modules cannot be mounted"

for directory in proc sys dev; do
    $B mount -o move "/$directory" "/root/$directory"
done
exec $B switch_root /root /bin/busybox sh /run/guest/guest.sh
