# Second half of a guest's start, in the host's root: what a booted Debian has and the tests need. Runs /run/guest/command
# and leaves its exit status in /run/guest/status.
B=/bin/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 RUST_BACKTRACE=1

$B mkdir -p /dev/pts /dev/shm
$B mount -t devpts devpts /dev/pts
$B mount -t tmpfs tmpfs /dev/shm
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B mount -t tracefs tracefs /sys/kernel/tracing
$B mount -t debugfs debugfs /sys/kernel/debug
$B mount -t bpf bpf /sys/fs/bpf
release=$($B uname -r)
$B mkdir -p "/lib/modules/$release"
$B mount -o bind /run/modules "/lib/modules/$release"
$B ip link set lo up
$B hostname guest
# Kernels before 5.11 account BPF memory against this limit.
ulimit -l unlimited

# The second serial line carries the command's output and nothing else. Through a pipe: colours are for terminals.
$B stty -F /dev/ttyS1 raw -echo
{
    /bin/sh /run/guest/command < /dev/null 2>&1
    echo $? > /run/guest/status
} | $B cat > /dev/ttyS1
$B sync
$B poweroff -f
