//! The kernel programs: one entry point a hook, each of which hands its context to a body and returns a constant.
//!
//! A cgroup program that returned 0 would deny the packet, the bind or the connect for the whole host; so every body returns
//! nothing, and 1 stands in the entry point. Everything is inlined: before 6.2 verifiers follow every value of a program that
//! has functions (`env->subprog_cnt > 1` makes all scalars precise), which these are too long for.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod connection;
#[cfg(target_arch = "bpf")]
mod flows;
#[cfg(target_arch = "bpf")]
mod frames;
#[cfg(target_arch = "bpf")]
mod goroutine;
#[cfg(target_arch = "bpf")]
mod headers;
#[cfg(target_arch = "bpf")]
mod long;
#[cfg(target_arch = "bpf")]
mod packet;
#[cfg(target_arch = "bpf")]
mod payload;
#[cfg(target_arch = "bpf")]
mod piece;
#[cfg(target_arch = "bpf")]
mod reading;
#[cfg(target_arch = "bpf")]
mod ring;
#[cfg(target_arch = "bpf")]
mod rustls;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod stream;
#[cfg(target_arch = "bpf")]
mod tell;
#[cfg(target_arch = "bpf")]
mod tls;

#[cfg(target_arch = "bpf")]
mod entry {
    use aya_ebpf::macros::{
        cgroup_skb, cgroup_sock, cgroup_sock_addr, raw_tracepoint, sock_ops, socket_filter, uprobe, uretprobe,
    };
    use aya_ebpf::programs::{
        ProbeContext, RawTracePointContext, RetProbeContext, SkBuffContext, SockAddrContext, SockContext,
        SockOpsContext,
    };
    use observer_ebpf::layout::Layout;
    use observer_ebpf::record::{Kind, TAP_EGRESS, TAP_INGRESS, TAP_TLS, TAP_WIRE};

    use crate::{frames, goroutine, long, packet, reading, rustls, socket, stream, tls};

    #[cgroup_skb(egress)]
    #[inline(always)]
    pub fn egress(ctx: SkBuffContext) -> i32 {
        packet::observe::<TAP_EGRESS>(&ctx);
        1
    }

    #[cgroup_skb(ingress)]
    #[inline(always)]
    pub fn ingress(ctx: SkBuffContext) -> i32 {
        packet::observe::<TAP_INGRESS>(&ctx);
        1
    }

    /// Returns 0: the packet socket itself wants no packet. The filter of a socket counts as its memory, which is 20 KiB
    /// before 6.8 (`net.core.optmem_max`); so this is only the way to the program that looks.
    #[socket_filter]
    #[inline(always)]
    pub fn wire(ctx: SkBuffContext) -> i64 {
        long::go_to_wire(&ctx);
        0
    }

    #[socket_filter]
    #[inline(always)]
    pub fn wire_packet(ctx: SkBuffContext) -> i64 {
        packet::observe::<TAP_WIRE>(&ctx);
        0
    }

    #[cgroup_skb(egress)]
    #[inline(always)]
    pub fn egress_long(ctx: SkBuffContext) -> i32 {
        long::observe::<TAP_EGRESS>(&ctx);
        1
    }

    #[cgroup_skb(ingress)]
    #[inline(always)]
    pub fn ingress_long(ctx: SkBuffContext) -> i32 {
        long::observe::<TAP_INGRESS>(&ctx);
        1
    }

    #[socket_filter]
    #[inline(always)]
    pub fn wire_long(ctx: SkBuffContext) -> i64 {
        long::observe::<TAP_WIRE>(&ctx);
        0
    }

    #[cgroup_skb(egress)]
    #[inline(always)]
    pub fn egress_frames(ctx: SkBuffContext) -> i32 {
        frames::observe::<TAP_EGRESS>(&ctx);
        1
    }

    #[cgroup_skb(ingress)]
    #[inline(always)]
    pub fn ingress_frames(ctx: SkBuffContext) -> i32 {
        frames::observe::<TAP_INGRESS>(&ctx);
        1
    }

    #[socket_filter]
    #[inline(always)]
    pub fn wire_frames(ctx: SkBuffContext) -> i64 {
        frames::observe::<TAP_WIRE>(&ctx);
        0
    }

    #[cgroup_skb(egress)]
    #[inline(always)]
    pub fn egress_stream(ctx: SkBuffContext) -> i32 {
        stream::observe::<TAP_EGRESS>(&ctx);
        1
    }

    #[cgroup_skb(ingress)]
    #[inline(always)]
    pub fn ingress_stream(ctx: SkBuffContext) -> i32 {
        stream::observe::<TAP_INGRESS>(&ctx);
        1
    }

    #[socket_filter]
    #[inline(always)]
    pub fn wire_stream(ctx: SkBuffContext) -> i64 {
        stream::observe::<TAP_WIRE>(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_begins(ctx: ProbeContext) -> u32 {
        tls::begins::<3>(&ctx, Layout::Unknown);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_begins_1_1(ctx: ProbeContext) -> u32 {
        tls::begins::<3>(&ctx, Layout::OpenSsl1_1);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_begins_3_0(ctx: ProbeContext) -> u32 {
        tls::begins::<3>(&ctx, Layout::OpenSsl3_0);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_begins_3_2(ctx: ProbeContext) -> u32 {
        tls::begins::<3>(&ctx, Layout::OpenSsl3_2);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_begins_ex2(ctx: ProbeContext) -> u32 {
        tls::begins::<4>(&ctx, Layout::OpenSsl3_2);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_uncorks(ctx: ProbeContext) -> u32 {
        tls::uncorks(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_uncorked(ctx: RetProbeContext) -> u32 {
        tls::uncorked(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_reads(ctx: RetProbeContext) -> u32 {
        tls::returns::<false>(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_writes(ctx: RetProbeContext) -> u32 {
        tls::returns::<true>(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_reads_ex(ctx: RetProbeContext) -> u32 {
        tls::returns_by_place::<false>(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_writes_ex(ctx: RetProbeContext) -> u32 {
        tls::returns_by_place::<true>(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn tls_sends_file(ctx: RetProbeContext) -> u32 {
        tls::sends_file(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_closes(ctx: ProbeContext) -> u32 {
        tls::closes(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_begins(ctx: ProbeContext) -> u32 {
        tls::begins_in_go(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_reads(ctx: ProbeContext) -> u32 {
        tls::returns_in_go(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_sends(ctx: ProbeContext) -> u32 {
        tls::sends_in_go(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_closes(ctx: ProbeContext) -> u32 {
        tls::closes_in_go(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_reads_request(ctx: ProbeContext) -> u32 {
        goroutine::reads_request(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_bears(ctx: ProbeContext) -> u32 {
        goroutine::bears(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_born(ctx: ProbeContext) -> u32 {
        goroutine::born(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn go_calls(ctx: ProbeContext) -> u32 {
        goroutine::calls(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn rustls_begins(ctx: ProbeContext) -> u32 {
        rustls::begins(&ctx);
        0
    }

    #[uretprobe]
    #[inline(always)]
    pub fn rustls_sends(ctx: RetProbeContext) -> u32 {
        rustls::returns(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn rustls_receives(ctx: ProbeContext) -> u32 {
        rustls::receives(&ctx);
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_session(ctx: ProbeContext) -> u32 {
        if let Some(plain) = tls::left(&ctx) {
            tls::tell_session(&plain);
            packet::observe::<TAP_TLS>(&plain);
        }
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_long(ctx: ProbeContext) -> u32 {
        tls::use_own_stack(&ctx);
        if let Some(plain) = tls::left(&ctx) {
            long::observe::<TAP_TLS>(&plain);
        }
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_frames(ctx: ProbeContext) -> u32 {
        if let Some(plain) = tls::left(&ctx) {
            frames::observe::<TAP_TLS>(&plain);
        }
        0
    }

    #[uprobe]
    #[inline(always)]
    pub fn tls_stream(ctx: ProbeContext) -> u32 {
        tls::use_own_stack(&ctx);
        if let Some(plain) = tls::left(&ctx) {
            stream::observe::<TAP_TLS>(&plain);
        }
        0
    }

    #[raw_tracepoint(tracepoint = "tcp_rcv_space_adjust")]
    #[inline(always)]
    pub fn reads(ctx: RawTracePointContext) -> i32 {
        reading::observe(&ctx);
        0
    }

    #[cgroup_sock_addr(connect4)]
    #[inline(always)]
    pub fn connect4(ctx: SockAddrContext) -> i32 {
        socket::connects::<4>(&ctx);
        1
    }

    #[cgroup_sock_addr(connect6)]
    #[inline(always)]
    pub fn connect6(ctx: SockAddrContext) -> i32 {
        socket::connects::<6>(&ctx);
        1
    }

    #[cgroup_sock(post_bind4)]
    #[inline(always)]
    pub fn post_bind4(ctx: SockContext) -> i32 {
        socket::process::<4>(&ctx, Kind::Binds);
        1
    }

    #[cgroup_sock(post_bind6)]
    #[inline(always)]
    pub fn post_bind6(ctx: SockContext) -> i32 {
        socket::process::<6>(&ctx, Kind::Binds);
        1
    }

    #[cgroup_sock(sock_release)]
    #[inline(always)]
    pub fn sock_release(ctx: SockContext) -> i32 {
        socket::process::<0>(&ctx, Kind::Released);
        1
    }

    #[sock_ops]
    #[inline(always)]
    pub fn sock_ops(ctx: SockOpsContext) -> u32 {
        socket::established(&ctx);
        1
    }
}

/// SHA-256 of the sources that the object was built from, in hexadecimal, behind a mark by which it is found.
/// `cargo xtask build-ebpf` sets it.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "observer.sources")]
#[unsafe(no_mangle)]
static SOURCES: [u8; 80] = sources();

#[cfg(target_arch = "bpf")]
const fn sources() -> [u8; 80] {
    let mut sources = [b'0'; 80];
    sources.split_at_mut(16).0.copy_from_slice(b"observer-sources");
    if let Some(digest) = option_env!("OBSERVER_EBPF_SOURCES") {
        sources.split_at_mut(16).1.copy_from_slice(digest.as_bytes());
    }
    sources
}

/// bpf_ringbuf and bpf_ktime helpers are for GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("These programs run in the kernel: cargo xtask build-ebpf builds them.");
}
