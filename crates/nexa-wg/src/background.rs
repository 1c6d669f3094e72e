use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::exit;

use anyhow::{Context as _, Result, bail};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe, setsid};

/// What the child says when it is ready; anything else is why it is not.
const READY: u8 = 0;

/// Does `work` in a process of its own. Returns once that has called its argument, or with the error that it ended
/// with before; in the child, when `work` has been done.
pub fn run(work: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<()>) -> Result<()> {
    let (read, write) = pipe().context("cannot make a pipe")?;
    // SAFETY: there is one thread yet, so the child has all that the parent has.
    match unsafe { fork() }.context("cannot go to the background")? {
        ForkResult::Parent { .. } => {
            drop(write);
            hear(File::from(read))
        }
        ForkResult::Child => {
            drop(read);
            let parent = File::from(write);
            if let Err(error) = work(&|| detach(&parent)) {
                // Nobody reads it if it was ready before.
                drop(write!(&parent, "{error:#}"));
                exit(1);
            }
            Ok(())
        }
    }
}

fn hear(mut child: File) -> Result<()> {
    let mut first = [READY];
    match child.read(&mut first).context("cannot hear from the background")? {
        0 => bail!("it ended at once; see why with --foreground"),
        _ if first == [READY] => Ok(()),
        _ => {
            let mut why = first.to_vec();
            child.read_to_end(&mut why).context("cannot hear from the background")?;
            bail!("{}", String::from_utf8_lossy(&why))
        }
    }
}

/// Lets go of the terminal and of the folder, and tells the parent.
fn detach(mut parent: &File) -> Result<()> {
    setsid().context("cannot leave the terminal")?;
    std::env::set_current_dir("/").context("cannot leave the folder")?;
    let null =
        OpenOptions::new().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .context("cannot let go of the terminal")?;
    parent.write_all(&[READY]).context("cannot tell that it is ready")
}
