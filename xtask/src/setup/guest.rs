//! The kernel of the tests' guest: Debian's, unpacked beside the build and installed nowhere.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{checkout::Checkout, program::Program, progress::step, test::guest::Kernel};

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

/// The guest's kernel, which is fetched unless it is there.
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
