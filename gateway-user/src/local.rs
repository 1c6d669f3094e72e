//! Questions of this host's root, over a Unix socket. The words are [`nexa_wire::local`]'s.

mod follow;

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use nexa_types::DeviceId;
use nexa_wire::local::{Answer, MAX_REQUEST_BYTES, Question, Request, VERSION};
use nix::unistd::geteuid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::events::Board;
use crate::gateway::Errand;
use crate::verify::Verifier;
use follow::Following;

/// A socket that does not answer yet. Its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, in place of one that an earlier daemon left.
    ///
    /// # Errors
    /// When the folder is missing or something else has the path.
    pub fn bind(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot make the socket {}; give another --socket", path.display());
        match std::fs::symlink_metadata(path) {
            Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path).with_context(cannot)?,
            Ok(_) => anyhow::bail!("{} is no socket; remove it or give another --socket", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(cannot),
        }
        let listener = UnixListener::bind(path).with_context(cannot)?;
        // Until here others may connect; they are told apart by their credentials.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers until the task is dropped.
    ///
    /// # Errors
    /// When the socket breaks.
    pub async fn serve(self, desk: Desk) -> anyhow::Result<()> {
        let mut conversations = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.context("the local socket broke")?;
                    conversations.spawn(converse(stream, desk.clone()));
                }
                Some(ended) = conversations.join_next() => {
                    if let Ok(Err(error)) = ended {
                        tracing::debug!("a conversation on the local socket ended: {error}");
                    }
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Who answers.
#[derive(Clone)]
pub struct Desk {
    /// What the gateway itself answers.
    pub errands: mpsc::Sender<Errand>,
    /// Who looks at the maps.
    pub verifier: Arc<Verifier>,
    /// Where the latest drops are.
    pub board: Arc<Board>,
}

impl Desk {
    /// The answer to a line, and what comes after it where more was asked for.
    async fn answer(&self, line: &[u8]) -> (Answer, Option<Following>) {
        let answer = match serde_json::from_slice::<Request>(line) {
            Ok(request) if request.version != VERSION => Err(anyhow::anyhow!(
                "this daemon answers version {VERSION}, not {}; restart the one that is older",
                request.version
            )),
            Ok(Request { question: Question::Drops { peer, follow }, .. }) => self.drops(peer, follow).await,
            Ok(Request { question: Question::Flows { peer, follow: true }, .. }) => {
                self.find(peer).await.map(|device| {
                    let (answer, following) = follow::begin_flows(&self.board, device);
                    (answer, Some(following))
                })
            }
            Ok(request) => self.answer_to(request.question).await.map(|answer| (answer, None)),
            Err(error) => Err(anyhow::Error::from(error).context("not a question that this daemon knows")),
        };
        answer.unwrap_or_else(|error| (Answer::Refused { reason: format!("{error:#}") }, None))
    }

    async fn drops(&self, peer: Option<String>, follow: bool) -> anyhow::Result<(Answer, Option<Following>)> {
        let (answer, following) = follow::begin(&self.board, self.find(peer).await?);
        Ok((answer, follow.then_some(following)))
    }

    /// The device that is meant, if one is.
    async fn find(&self, peer: Option<String>) -> anyhow::Result<Option<DeviceId>> {
        Ok(match peer {
            Some(peer) => Some(self.errand(|reply| Errand::Find(peer, reply)).await??),
            None => None,
        })
    }

    async fn answer_to(&self, question: Question) -> anyhow::Result<Answer> {
        match question {
            Question::Status => Ok(Answer::Status(self.errand(Errand::Status).await?)),
            Question::Explain(query) => {
                let errand = |reply| Errand::Explain(query, reply);
                Ok(Answer::Explained(self.errand(errand).await??))
            }
            Question::Flows { peer, .. } => {
                let (flows, total) = self.errand(|reply| Errand::Flows(peer, reply)).await??;
                Ok(Answer::Flows { flows, total })
            }
            Question::Verify => Ok(Answer::Verified(self.verifier.look().await?)),
            // Answered by `follow`.
            Question::Drops { .. } | Question::Unknown => {
                anyhow::bail!("this daemon does not know the question; it may be older: restart it")
            }
        }
    }

    async fn errand<T>(&self, errand: impl FnOnce(oneshot::Sender<T>) -> Errand) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        self.errands.send(errand(reply)).await.ok().context("the gateway is ending")?;
        answer.await.context("the gateway is ending")
    }
}

async fn converse(stream: UnixStream, desk: Desk) -> io::Result<()> {
    let is_trusted = trusted(stream.peer_cred()?.uid());
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST_BYTES as u64;
        (&mut reading).take(limit).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let (answer, following) = if is_trusted {
            desk.answer(&line).await
        } else {
            (Answer::Refused { reason: "only root may ask".to_owned() }, None)
        };
        write(&mut writing, &answer).await?;
        if let Some(following) = following {
            return following.serve(&mut reading, &mut writing).await;
        }
    }
}

async fn write(writing: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    writing.write_all(&text).await
}

/// Root, and whoever the daemon runs as.
fn trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}
