//! OpenSSL in this process: the shared library, as any program that is linked to it uses it. No certificates: anonymous Diffie-Hellman
//! of TLS 1.2.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::os::fd::RawFd;
use std::path::Path;
use std::ptr::null_mut;

type Pointer = *mut c_void;

const LIBRARY: &CStr = c"libssl.so.3";
/// `SSL_CTRL_SET_MAX_PROTO_VERSION` and `TLS1_2_VERSION` (openssl/ssl.h, openssl/prov_ssl.h).
const MAX_VERSION: c_int = 124;
const TLS_1_2: c_long = 0x0303;

fn function(name: &str) -> Pointer {
    let name = CString::new(name).unwrap();
    // SAFETY: names that end; the library is never closed.
    let function = unsafe { libc::dlsym(libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW), name.as_ptr()) };
    assert!(!function.is_null(), "{name:?} is not in {LIBRARY:?}");
    function
}

/// Calls a function of the library.
macro_rules! call {
    ($name:literal, $($type:ty: $value:expr),* => $result:ty) => {{
        // SAFETY: the function's type as its manual page gives it; pointers are those that the library gave.
        let function: extern "C" fn($($type),*) -> $result = unsafe { std::mem::transmute(function($name)) };
        function($($value),*)
    }};
}

/// Loads the library.
pub fn load() {
    function("SSL_new");
}

/// Another library, which is loaded as long as this lives: tests that come later would find it.
pub struct Loaded(Pointer);

impl Loaded {
    pub fn new(library: &Path) -> Self {
        let library = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a name that ends.
        let loaded = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
        assert!(!loaded.is_null(), "{library:?}");
        Self(loaded)
    }

    pub fn function(&self, name: &CStr) -> Pointer {
        // SAFETY: a name that ends, of a library that is loaded.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null(), "{name:?}");
        function
    }

    /// Calls its `SSL_write` with what stands for a session there.
    pub fn write(&self, session: u64, bytes: &[u8]) {
        let function = self.function(c"SSL_write");
        // SAFETY: the type that the function has in every release.
        let function: extern "C" fn(u64, *const u8, c_int) -> c_int = unsafe { std::mem::transmute(function) };
        let len = c_int::try_from(bytes.len()).unwrap();
        assert_eq!(function(session, bytes.as_ptr(), len), len);
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: it was loaded, and nothing of it is used any more.
        unsafe { libc::dlclose(self.0) };
    }
}

/// A session.
pub struct Session(Pointer);

// SAFETY: the library lets a session be used by one thread after the other (man 7 openssl-threads).
unsafe impl Send for Session {}

impl Session {
    pub fn new() -> Self {
        let method = call!("TLS_method", => Pointer);
        let context = call!("SSL_CTX_new", Pointer: method => Pointer);
        assert_eq!(
            call!("SSL_CTX_ctrl", Pointer: context, c_int: MAX_VERSION, c_long: TLS_1_2, Pointer: null_mut() => c_long),
            1
        );
        let ciphers = c"AECDH:@SECLEVEL=0".as_ptr();
        assert_eq!(call!("SSL_CTX_set_cipher_list", Pointer: context, *const c_char: ciphers => c_int), 1);
        Self(call!("SSL_new", Pointer: context => Pointer))
    }

    /// Both sessions of a connection, once they have shaken hands.
    pub fn over(client: RawFd, server: RawFd) -> [Self; 2] {
        let sessions = [Self::new(), Self::new()];
        sessions[0].use_descriptor(client);
        sessions[1].use_descriptor(server);
        Self::shake_hands(&sessions);
        sessions
    }

    /// The same without any socket.
    pub fn over_memory() -> [Self; 2] {
        let sessions = [Self::new(), Self::new()];
        let (mut one, mut other) = (null_mut(), null_mut());
        call!("BIO_new_bio_pair", *mut Pointer: &raw mut one, usize: 0, *mut Pointer: &raw mut other, usize: 0 => c_int);
        for (session, memory) in sessions.iter().zip([one, other]) {
            call!("SSL_set_bio", Pointer: session.0, Pointer: memory, Pointer: memory => ());
        }
        Self::shake_hands(&sessions);
        sessions
    }

    pub fn use_descriptor(&self, descriptor: RawFd) {
        assert_eq!(call!("SSL_set_fd", Pointer: self.0, c_int: descriptor => c_int), 1);
    }

    /// Blocking or not.
    pub fn shake_hands([client, server]: &[Self; 2]) {
        std::thread::scope(|scope| {
            let client = client.0 as usize;
            let connects = move || call!("SSL_connect", Pointer: client as Pointer => c_int);
            let accepts = || call!("SSL_accept", Pointer: server.0 => c_int);
            let in_memory = call!("SSL_get_rfd", Pointer: server.0 => c_int) < 0;
            if in_memory {
                while connects() + accepts() < 2 {}
            } else {
                let connected = scope.spawn(connects);
                assert_eq!((accepts(), connected.join().unwrap()), (1, 1));
            }
        });
    }

    pub fn write(&self, bytes: &[u8]) {
        let len = c_int::try_from(bytes.len()).unwrap();
        assert_eq!(call!("SSL_write", Pointer: self.0, *const u8: bytes.as_ptr(), c_int: len => c_int), len);
    }

    pub fn read(&self) -> Vec<u8> {
        self.take("SSL_read")
    }

    pub fn peek(&self) -> Vec<u8> {
        self.take("SSL_peek")
    }

    fn take(&self, name: &str) -> Vec<u8> {
        let mut bytes = vec![0u8; 20_000];
        // SAFETY: as in the macro; both have the same type.
        let function: extern "C" fn(Pointer, *mut u8, c_int) -> c_int = unsafe { std::mem::transmute(function(name)) };
        let len = function(self.0, bytes.as_mut_ptr(), c_int::try_from(bytes.len()).unwrap());
        bytes.truncate(usize::try_from(len).unwrap());
        bytes
    }

    pub fn write_ex(&self, bytes: &[u8]) {
        let mut written = 0usize;
        let (from, len) = (bytes.as_ptr(), bytes.len());
        call!("SSL_write_ex", Pointer: self.0, *const u8: from, usize: len, *mut usize: &raw mut written => c_int);
        assert_eq!(written, len);
    }

    pub fn read_ex(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; 20_000];
        let (mut read, to, len) = (0usize, bytes.as_mut_ptr(), bytes.len());
        call!("SSL_read_ex", Pointer: self.0, *mut u8: to, usize: len, *mut usize: &raw mut read => c_int);
        bytes.truncate(read);
        bytes
    }

    /// Makes it fit for another connection.
    pub fn clear(&self) {
        assert_eq!(call!("SSL_clear", Pointer: self.0 => c_int), 1);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        call!("SSL_free", Pointer: self.0 => ());
    }
}
