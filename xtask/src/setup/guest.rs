//! The kernel of the tests' guest: Debian's, unpacked beside the build and installed nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{checkout::Checkout, program::Program, progress::step};

/// Downloads the newest 6.1 kernel of Debian's cloud images as a user without rights would, and unpacks it.
const FETCH: &str = r#"
set -eu
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-6\.1\.[^ ]*\)$/\1/p' | head -n 1)
if [ -z "$package" ]; then
    echo "no kernel 6.1 among apt's packages: is this Debian 12, and did apt-get update run?" >&2
    exit 1
fi
apt-get download "$package"
dpkg-deb --extract ./*.deb unpacked
rm -f ./*.deb
"#;

/// A kernel unpacked from its package.
pub struct Kernel {
    folder: PathBuf,
}

impl Kernel {
    /// Its image.
    ///
    /// # Errors
    /// When there is none.
    pub fn image(&self) -> Result<PathBuf> {
        entry(&self.folder.join("boot"), "vmlinuz-")
    }

    /// A module, by its path below `kernel/`.
    ///
    /// # Errors
    /// When there is no folder of modules.
    pub fn module(&self, name: &str) -> Result<PathBuf> {
        Ok(entry(&self.folder.join("lib/modules"), "")?.join("kernel").join(name))
    }
}

/// The one entry of a folder that begins so.
fn entry(folder: &Path, start: &str) -> Result<PathBuf> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
        .with_context(|| format!("nothing like {start}… in {}", folder.display()))
}

/// The guest's kernel, which is fetched unless it is there. Only the guest's tests ask for it: nothing else shall wait
/// for it, nor need a Debian that has it.
///
/// # Errors
/// When it cannot be fetched.
pub fn kernel(checkout: &Checkout) -> Result<Kernel> {
    let folder = checkout.tools().join("guest-kernel");
    if !folder.is_dir() {
        let part = checkout.tools().join("guest-kernel.part");
        if part.exists() {
            fs::remove_dir_all(&part).context("cannot remove what was half fetched")?;
        }
        fs::create_dir_all(&part).context("cannot make the kernel's folder")?;
        step("setup: fetching Linux 6.1 for the tests' guest", || {
            let fetch = Program::new("sh").args(["-c", FETCH]).directory(&part);
            fetch.run_logged(&checkout.logs().join("guest-kernel.log"))
        })?;
        fs::rename(part.join("unpacked"), &folder).context("cannot keep the kernel")?;
    }
    Ok(Kernel { folder })
}
