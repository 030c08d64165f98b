//! Memory shared with the kernel, and what no crate gives a safe form: the only unsafe code of this program but for one
//! instruction (`pipeline/prefetch.rs`).
//!
//! The ring buffer is read here rather than by aya's reader, which publishes its position after every record: the kernel reads
//! that position for every record it writes, so the cache line would wander between two CPUs twice a record.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use aya::programs::{ProgramError, UProbe};
use observer_ebpf::FLOW_SLOTS;
use observer_ebpf::flow::LeftOut;

/// Header of a record in the ring: length and flags, page offset (include/uapi/linux/bpf.h, `BPF_RINGBUF_HDR_SZ`).
const HEADER_BYTES: usize = 8;
/// The record is reserved and not yet submitted (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// The record was given up (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARDED: u32 = 1 << 30;
/// Records after which the position is published: seldom for the cache line's sake, often for the room in the ring.
const PUBLISH_EVERY: u32 = 64;

/// A mapping of kernel memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<libc::c_void>,
    len: NonZeroUsize,
}

impl Mapping {
    fn new(map: BorrowedFd<'_>, offset: usize, len: usize, writable: bool) -> io::Result<Self> {
        let len = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh mapping that overlaps nothing; the result is checked.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), len.get(), access, libc::MAP_SHARED, map.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start).ok_or(io::ErrorKind::InvalidData)?, len })
    }

    /// The address `offset` bytes into the mapping, which must lie within it.
    fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset + size_of::<T>() <= self.len.get(), "an offset past the end of a mapping");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.start.byte_add(offset) }.cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; what refers to it borrows from `self`.
        unsafe { libc::munmap(self.start.as_ptr(), self.len.get()) };
    }
}

// SAFETY: the mapping is memory like any other; it belongs to whoever owns the value.
unsafe impl Send for Mapping {}

/// The reader of the ring buffer. There must be one only.
#[derive(Debug)]
pub(super) struct RingReader {
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    mask: usize,
    position: usize,
}

impl RingReader {
    /// Maps a ring buffer of `bytes` bytes, a power of two.
    pub(super) fn new(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let bytes = bytes as usize;
        let consumer = Mapping::new(map, 0, page, true)?;
        // The data pages are mapped twice in a row, so that no record is broken at the end of the ring.
        let producer = Mapping::new(map, page, page + 2 * bytes, false)?;
        let mut reader = Self { consumer, producer, page, mask: bytes - 1, position: 0 };
        reader.position = reader.consumed().load(Ordering::Acquire);
        Ok(reader)
    }

    /// Hands every record that is complete to `tell`, and makes its room free. Ends where nothing is left, or once as much as
    /// the ring holds was read, so that a fast producer cannot keep it for ever. Returns the number of bytes read.
    pub(super) fn drain(&mut self, mut tell: impl FnMut(&[u8])) -> usize {
        let first = self.position;
        let mut unpublished = 0;
        let mut produced = self.produced().load(Ordering::Acquire);
        loop {
            if self.position == produced {
                produced = self.produced().load(Ordering::Acquire);
                if self.position == produced || self.position - first > self.mask {
                    break;
                }
            }
            let at = self.page + (self.position & self.mask);
            // SAFETY: the header of a record, aligned to eight, which the kernel writes atomically (ringbuf.c,
            // bpf_ringbuf_commit).
            let header = unsafe { self.producer.at::<AtomicU32>(at).as_ref() }.load(Ordering::Acquire);
            if header & BUSY != 0 {
                break;
            }
            let len = (header & !DISCARDED) as usize;
            if header & DISCARDED == 0 {
                assert!(len <= self.mask, "a record longer than the ring");
                let start = self.producer.at::<u8>(at + HEADER_BYTES);
                // SAFETY: a submitted record of `len` bytes within the second mapping of the data; the kernel leaves it alone
                // until the position is published, which is after `tell` returned.
                tell(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) });
            }
            self.position += (len + HEADER_BYTES).next_multiple_of(8);
            unpublished += 1;
            if unpublished == PUBLISH_EVERY {
                self.consumed().store(self.position, Ordering::Release);
                unpublished = 0;
            }
        }
        self.consumed().store(self.position, Ordering::Release);
        self.position - first
    }

    fn consumed(&self) -> &AtomicUsize {
        // SAFETY: the position of the consumer, at the start of its page, aligned and only ever used atomically.
        unsafe { self.consumer.at::<AtomicUsize>(0).as_ref() }
    }

    fn produced(&self) -> &AtomicUsize {
        // SAFETY: as above, of the producer.
        unsafe { self.producer.at::<AtomicUsize>(0).as_ref() }
    }
}

/// What the kernel is to leave out: a word a flow.
#[derive(Debug)]
pub(super) struct Wishes(Mapping);

impl Wishes {
    pub(super) fn new(map: BorrowedFd<'_>) -> io::Result<Self> {
        Mapping::new(map, 0, FLOW_SLOTS as usize * size_of::<u64>(), true).map(Self)
    }

    /// Leaves out so much of the flow of this fingerprint from now on.
    pub(super) fn leave_out(&self, fingerprint: u64, what: LeftOut) {
        let word = usize::try_from(fingerprint).unwrap_or(0) & (FLOW_SLOTS as usize - 1);
        // SAFETY: a word of the map, aligned to eight; this program only ever writes it, atomically.
        unsafe { self.0.at::<AtomicU64>(word * size_of::<u64>()).as_ref() }
            .store(what.of(fingerprint), Ordering::Relaxed);
    }
}

/// Binds a packet socket to an interface (zero: all) and to every protocol, which is what makes it see packets that leave.
pub(super) fn bind_packet_socket(socket: &OwnedFd, interface: u32) -> io::Result<()> {
    // SAFETY: all zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    address.sll_protocol = 0x0003u16.to_be(); // ETH_P_ALL (include/uapi/linux/if_ether.h)
    address.sll_ifindex = i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
    let len = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the address is of the given length and lives through the call.
    let result = unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has this thread, and no other, killed where it makes this system call.
pub(super) fn forbid(syscall: u32) -> io::Result<()> {
    let step = |code: u32, jump_false: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: 0,
        jf: jump_false,
        k,
    };
    // The number is the first word of what a filter is shown (`struct seccomp_data`).
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, syscall),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_KILL_THREAD),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the filter lives through the call, which copies it.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptor of a value that lends only its number.
pub(crate) fn borrowed<T: AsRawFd>(of: &T) -> BorrowedFd<'_> {
    // SAFETY: the value owns the descriptor and outlives what is borrowed.
    unsafe { BorrowedFd::borrow_raw(of.as_raw_fd()) }
}

/// A second handle on a loaded probe, with links of its own.
pub(super) fn probe_handle(loaded: &UProbe, name: &'static str) -> Result<UProbe, ProgramError> {
    // SAFETY: the program is a probe of user space of this kind, as its handle says; the kernel tells them from others of their
    // type only where they are attached.
    unsafe { UProbe::from_program_info(loaded.info()?, name.into(), loaded.kind()) }
}
