//! libpcap's compiler: expressions mean what they mean to tcpdump, by the same code.
//!
//! The library is opened when an expression is given, not linked: a sensor without one starts on
//! machines that do not have it, and it is not needed to build.
#![expect(unsafe_code, reason = "a foreign library")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    mem, ptr, slice,
};

use super::classic::{Encoded, Program};

/// Its names: Debian's, and everybody else's.
const NAMES: [&CStr; 2] = [c"libpcap.so.0.8", c"libpcap.so.1"];

/// Why there is no compiler.
const MISSING: &str = if cfg!(target_feature = "crt-static") {
    "filter expressions are compiled by libpcap, which a program that is linked statically cannot load: leave the filter out, or use one that is linked dynamically, as the one in the package is"
} else {
    "filter expressions are compiled by libpcap, which is not installed: `apt-get install libpcap0.8`, or leave the filter out"
};

/// What `ret` says of a packet that matches; any number but 0 would do.
const SNAP_OCTETS: c_int = 262_144;
const OPTIMIZE: c_int = 1;
/// `PCAP_ERRBUF_SIZE`.
const MESSAGE_OCTETS: usize = 256;

/// `struct bpf_program`.
#[repr(C)]
struct Compiled {
    len: c_uint,
    instructions: *mut Encoded,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut Compiled, *const c_char, c_int, u32) -> c_int;
type FreeCode = unsafe extern "C" fn(*mut Compiled);
type GetError = unsafe extern "C" fn(*mut c_void) -> *mut c_char;
type Close = unsafe extern "C" fn(*mut c_void);
type LookUpNet = unsafe extern "C" fn(*const c_char, *mut u32, *mut u32, *mut c_char) -> c_int;

/// The library. It stays open as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub struct Compiler {
    open_dead: OpenDead,
    compile: Compile,
    free_code: FreeCode,
    get_error: GetError,
    close: Close,
    look_up_net: LookUpNet,
}

impl Compiler {
    /// Opens the library.
    ///
    /// # Errors
    /// A sentence: it is not there.
    pub fn open() -> Result<Self, String> {
        let open = |name: &&CStr| {
            // SAFETY: the name is a terminated string; what the library does when it is opened is
            // what it does to tcpdump.
            let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
            (!library.is_null()).then_some(library)
        };
        let library = NAMES.iter().find_map(open);
        let library = library.ok_or_else(|| MISSING.to_owned())?;
        // SAFETY: libpcap declares the functions so (pcap/pcap.h), in all its versions.
        unsafe { Self::of(library) }
            .ok_or_else(|| "libpcap lacks a function: install a newer one".to_owned())
    }

    /// # Safety
    /// The handle must be of libpcap.
    unsafe fn of(library: *mut c_void) -> Option<Self> {
        Some(Self {
            // SAFETY: the caller's promise, and the types are those of the declarations.
            open_dead: unsafe { symbol(library, c"pcap_open_dead") }?,
            // SAFETY: likewise.
            compile: unsafe { symbol(library, c"pcap_compile") }?,
            // SAFETY: likewise.
            free_code: unsafe { symbol(library, c"pcap_freecode") }?,
            // SAFETY: likewise.
            get_error: unsafe { symbol(library, c"pcap_geterr") }?,
            // SAFETY: likewise.
            close: unsafe { symbol(library, c"pcap_close") }?,
            // SAFETY: likewise.
            look_up_net: unsafe { symbol(library, c"pcap_lookupnet") }?,
        })
    }

    /// Compiles an expression for frames of a link layer (`DLT_…`, pcap/dlt.h); `netmask` is what
    /// `ip broadcast` goes by.
    ///
    /// # Errors
    /// What libpcap says.
    pub fn compile(&self, expression: &str, link: i32, netmask: u32) -> Result<Program, String> {
        let text =
            CString::new(expression).map_err(|_| "it has an octet 0 in the middle".to_owned())?;
        // SAFETY: no pointers are given.
        let handle = unsafe { (self.open_dead)(link, SNAP_OCTETS) };
        if handle.is_null() {
            return Err("there is no memory for it".to_owned());
        }
        let mut compiled = Compiled {
            len: 0,
            instructions: ptr::null_mut(),
        };
        // SAFETY: the handle and the place for the result are valid, and the text is terminated.
        let result =
            unsafe { (self.compile)(handle, &raw mut compiled, text.as_ptr(), OPTIMIZE, netmask) };
        let program = if result == 0 && !compiled.instructions.is_null() {
            // SAFETY: libpcap made so many of them.
            let encoded =
                unsafe { slice::from_raw_parts(compiled.instructions, compiled.len as usize) };
            let program = Program::new(encoded).map_err(|error| error.to_string());
            // SAFETY: from `pcap_compile`, and not used any more.
            unsafe { (self.free_code)(&raw mut compiled) };
            program
        } else {
            // SAFETY: the handle is valid.
            let message = unsafe { (self.get_error)(handle) };
            // SAFETY: a terminated string, which lives as long as the handle.
            let message = unsafe { CStr::from_ptr(message) };
            Err(format!(
                "{}; pcap-filter(7) has its language",
                message.to_string_lossy()
            ))
        };
        // SAFETY: from `pcap_open_dead`, and not used any more.
        unsafe { (self.close)(handle) };
        program
    }

    /// An interface's IPv4 netmask, as [`Compiler::compile`] wants it; 0 if it has none.
    #[must_use]
    pub fn netmask(&self, interface: &str) -> u32 {
        let Ok(name) = CString::new(interface) else {
            return 0;
        };
        let (mut net, mut mask) = (0, 0);
        let mut message: [c_char; MESSAGE_OCTETS] = [0; MESSAGE_OCTETS];
        // SAFETY: all are valid, and the message has the size that libpcap declares.
        let result = unsafe {
            (self.look_up_net)(
                name.as_ptr(),
                &raw mut net,
                &raw mut mask,
                message.as_mut_ptr(),
            )
        };
        if result == 0 { mask } else { 0 }
    }
}

/// A function of a library.
///
/// # Safety
/// `T` must be the type of a pointer to the function of this name.
unsafe fn symbol<T: Copy>(library: *mut c_void, name: &CStr) -> Option<T> {
    // SAFETY: the handle is of an open library, and the name is terminated.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() || size_of::<T>() != size_of_val(&address) {
        return None;
    }
    // SAFETY: the caller's promise; both have one size.
    Some(unsafe { mem::transmute_copy::<*mut c_void, T>(&address) })
}

#[cfg(test)]
mod tests {
    use super::{
        super::classic::{Condition, Instruction, Operand, Size},
        *,
    };

    const ETHERNET: i32 = 1;

    #[test]
    fn an_expression_becomes_a_program() {
        let program = Compiler::open().unwrap().compile("ip6", ETHERNET, 0);
        let expected = [
            Instruction::Load(Size::Half, 12),
            Instruction::Branch {
                condition: Condition::Equal,
                operand: Operand::Constant(0x86dd),
                holds: 2,
                fails: 3,
            },
            Instruction::Return(true),
            Instruction::Return(false),
        ];
        assert_eq!(program.unwrap().instructions(), expected);
    }

    #[test]
    fn what_is_no_expression_is_refused_in_libpcaps_words() {
        let compiler = Compiler::open().unwrap();
        for (expression, words) in [
            ("tcp port", "syntax error"),
            ("ip and ip6", "rejects all packets"),
            ("port 80\0", "octet 0"),
            ("len / 0 = 1", "zero"),
        ] {
            let refusal = compiler.compile(expression, ETHERNET, 0).unwrap_err();
            assert!(refusal.contains(words), "{expression}: {refusal}");
        }
        let refusal = compiler.compile("vlan", super::super::RAW, 0);
        assert!(refusal.unwrap_err().contains("VLAN"));
    }
}
