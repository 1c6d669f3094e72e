//! Ends a pinned link at once. A pin that is removed lets go of its link some time later, and until then nobody else
//! can attach; the kernel's word for "now" is one that aya lacks.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// linux/bpf.h, `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_long = 7;
/// Since Linux 5.9.
const BPF_LINK_DETACH: libc::c_long = 34;

/// Of `union bpf_attr`, what BPF_OBJ_GET takes.
#[repr(C)]
struct ObjectGet {
    path: u64,
    zero: [u32; 2],
}

/// Detaches the link that is pinned at `pin`, and removes the pin.
pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjectGet { path: path.as_ptr() as u64, zero: [0; 2] };
    // SAFETY: the structure is what the command takes, and the path in it lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of_val(&get)) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: a descriptor that the kernel has just made for us.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let fd = link.as_raw_fd();
    // SAFETY: of this command's attributes the descriptor is the only one.
    if unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const fd, size_of_val(&fd)) } != 0 {
        let error = io::Error::last_os_error();
        // Its interface is gone already.
        if error.raw_os_error() != Some(libc::ENOLINK) {
            return Err(error);
        }
    }
    std::fs::remove_file(pin)
}
