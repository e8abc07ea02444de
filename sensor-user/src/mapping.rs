//! Memory shared with the kernel program, or like it: pages mapped from a BPF array map, or
//! anonymous ones for tables of our own. One of the files that may use `unsafe`.
#![expect(unsafe_code, reason = "mmap")]

use std::{
    hint::select_unpredictable,
    io,
    marker::PhantomData,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
};

/// `len` elements of `T`, page-aligned, zero at first, unmapped when dropped. The kernel may write
/// them at any time, so there are only raw pointers to them.
#[derive(Debug)]
pub struct Mapping<T> {
    start: NonNull<T>,
    len: usize,
    octets: usize,
    elements: PhantomData<T>,
}

// SAFETY: the mapping is plain memory without ties to a thread.
unsafe impl<T: Send> Send for Mapping<T> {}

impl<T> Mapping<T> {
    /// Maps a BPF array of `len` elements, each of `T`'s size (kernel 5.5, `BPF_F_MMAPABLE`).
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn of_map(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, map.as_raw_fd())
    }

    /// Anonymous memory, in huge pages if the kernel has them.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let mapping = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        // SAFETY: the range was just mapped. Failure costs speed only.
        unsafe {
            libc::madvise(
                mapping.start.as_ptr().cast(),
                mapping.octets,
                libc::MADV_HUGEPAGE,
            );
        }
        Ok(mapping)
    }

    fn map(len: usize, flags: libc::c_int, file: libc::c_int) -> io::Result<Self> {
        let octets = len.max(1) * size_of::<T>();
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                octets,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                file,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?,
            len,
            octets,
            elements: PhantomData,
        })
    }

    /// The address of an element.
    ///
    /// # Panics
    /// If `index` is not below the length.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, index: usize) -> *mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: the element lies within the mapping, checked above.
        unsafe { self.start.as_ptr().add(index) }
    }

    /// Has the first cache line of an element fetched, and does not wait for it.
    ///
    /// # Panics
    /// If `index` is not below the length.
    #[inline(always)]
    pub fn fetch(&self, index: usize) {
        fetch(self.at(index));
    }

    /// The same of those of eight elements in a row whose bits are set. No branch depends on which these are, since
    /// none would be foreseen: in place of the others a line of the stack is fetched, which is there.
    ///
    /// # Panics
    /// If one of the eight is not below the length.
    #[inline(always)]
    pub fn fetch_some(&self, first: usize, bits: u8) {
        let end = first + 8;
        assert!(end <= self.len, "elements {first} to {end} of {}", self.len);
        let here = 0u8;
        for bit in 0..8 {
            // SAFETY: the element lies within the mapping, checked above for all.
            let element = unsafe { self.start.as_ptr().add(first + bit) };
            fetch(select_unpredictable(
                bits >> bit & 1 != 0,
                element.cast_const().cast(),
                &raw const here,
            ));
        }
    }

    /// Octets mapped.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch<T>(element: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint to the processor, by which the program reads nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(element.cast::<i8>()) };
}

/// By a read whose value nothing waits for, which processors do some of at a time.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch<T>(element: *const T) {
    // SAFETY: the callers have a valid element; volatile so that it is read though nothing is done with it.
    let _ = unsafe { element.cast::<u8>().read_volatile() };
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the range is ours, and no pointer into it outlives the value that hands them out.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.octets);
        }
    }
}
