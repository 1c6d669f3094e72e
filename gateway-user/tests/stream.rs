//! The stream to the control plane, against a server with real frames. The test plays the gateway behind the stream:
//! it takes the offered snapshots and says what became of them.
#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod fake_control;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_control::{Connection, FakeControl, TOKEN};
use nexa_config::SecretSource;
use nexa_gateway::status::{Applied, Status};
use nexa_gateway::stream::{self, Cause, Offer, Options, Refusal, Timing};
use nexa_types::{DeviceId, PublicKey, Revision};
use nexa_wire::gateway::{FromGateway, PROTOCOL, PeerReport};
use nexa_wire::snapshot::{Sealed, Snapshot};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../../crates/nexa-wire/tests/snapshot-v1.json")).unwrap()
}

fn other_snapshot() -> Snapshot {
    Snapshot { rules: Vec::new(), ..snapshot() }
}

fn sealed(revision: u64) -> Sealed {
    Sealed::new(Revision(revision), &snapshot()).unwrap()
}

/// A stream whose gateway is the test.
struct Rig {
    control: FakeControl,
    folder: tempfile::TempDir,
    status: Arc<Status>,
    offers: mpsc::Receiver<Offer>,
    reports: mpsc::Sender<Vec<FromGateway>>,
    log: Log,
    _logging: tracing::subscriber::DefaultGuard,
    task: tokio::task::JoinHandle<()>,
}

/// Patient enough for a busy machine, but for what a test waits to see elapse.
fn timing() -> Timing {
    Timing {
        connect_timeout: PATIENCE,
        ping_every: Duration::from_millis(20),
        silence_limit: PATIENCE,
        refused_retry: Duration::from_millis(10),
    }
}

impl Rig {
    async fn start(token: &str, timing: Timing) -> Self {
        let control = FakeControl::start().await;
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            url: format!("http://{}", control.address).parse().unwrap(),
            token: SecretSource::File(folder.path().join("token")),
            public_key: PublicKey::from_bytes([7; 32]).unwrap(),
            timing,
        };
        std::fs::write(options.token.file().unwrap(), token).unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let status = Arc::new(Status::default());
        let (offer, offers) = mpsc::channel(1);
        let (reports, receiver) = mpsc::channel(1);
        let task = tokio::spawn(stream::run(options, offer, receiver, Arc::clone(&status)));
        Self { control, folder, status, offers, reports, log, _logging: logging, task }
    }

    /// The next connection, its hello said.
    async fn connection(&mut self) -> (Connection, Option<Revision>) {
        let mut connection = self.control.connection().await;
        match connection.receive().await {
            FromGateway::Hello { protocol, public_key, applied, applied_hash, .. } => {
                assert_eq!((protocol, public_key.as_bytes()), (PROTOCOL, &[7; 32]));
                assert_eq!(applied_hash, self.status.applied().map(|applied| applied.hash));
                (connection, applied)
            }
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// Does with the next offer what the gateway does.
    async fn take(&mut self) -> Result<Revision, Refusal> {
        let offer = timeout(PATIENCE, self.offers.recv()).await.expect("nothing is offered").unwrap();
        let revision = offer.sealed.revision;
        let outcome = match offer.sealed.open() {
            Ok(snapshot) => {
                self.status.set_applied(Applied::new(revision, offer.sealed.hash.clone(), &snapshot));
                Ok(())
            }
            Err(error) => Err(Refusal { reason: error.to_string(), resync: true, cause: Cause::Hash }),
        };
        offer.reply.send(outcome.clone()).unwrap();
        outcome.map(|()| revision)
    }

    fn applied(&self) -> Option<Revision> {
        self.status.applied().map(|applied| applied.revision)
    }

    async fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let holds = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, holds)
            .await
            .unwrap_or_else(|_| panic!("waited in vain: {what}; log:\n{}", self.log.text()));
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn lines_with(&self, word: &str) -> usize {
        self.text().lines().filter(|line| line.contains(word)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_snapshot_is_offered_and_acknowledged_and_the_next_hello_names_it() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, applied) = rig.connection().await;
    assert_eq!(applied, None);
    connection.send(sealed(5)).await;
    assert_eq!(rig.take().await.unwrap(), Revision(5));
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) });
    assert!(rig.status.is_connected());
    drop(connection);
    let (mut connection, applied) = rig.connection().await;
    assert_eq!(applied, Some(Revision(5)));
    connection.send(sealed(5)).await;
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(5) });
    assert!(rig.offers.try_recv().is_err(), "what is in force is not put in force again");
}

#[tokio::test]
async fn a_snapshot_with_a_wrong_hash_is_refused_the_last_good_one_stays_and_it_is_asked_for_again() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, _) = rig.connection().await;
    connection.send(sealed(5)).await;
    rig.take().await.unwrap();
    connection.receive().await;
    connection.send(Sealed { hash: sealed(5).hash, ..sealed(6) }).await;
    assert!(rig.take().await.is_err());
    match connection.receive().await {
        FromGateway::Refused { revision, reason } => {
            assert_eq!(revision, Revision(6));
            assert!(reason.contains("hash"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.applied(), Some(Revision(5)));
    let (mut connection, applied) = rig.connection().await;
    assert_eq!(applied, Some(Revision(5)));
    connection.send(sealed(6)).await;
    assert_eq!(rig.take().await.unwrap(), Revision(6));
}

#[tokio::test]
async fn frames_of_later_versions_are_passed_over_and_nonsense_ends_the_connection() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, _) = rig.connection().await;
    connection.send_text(r#"{"something_new":{"a":1}}"#).await;
    connection.send(sealed(5)).await;
    rig.take().await.unwrap();
    connection.receive().await;
    connection.send_text(r#"{"snapshot":{"revision":6"#).await;
    connection.closed().await;
    rig.connection().await;
    assert_eq!(rig.applied(), Some(Revision(5)));
}

#[tokio::test]
async fn a_refused_token_is_logged_once_and_a_new_one_is_taken_without_a_restart() {
    let mut rig = Rig::start("a-wrong-token", timing()).await;
    rig.wait_for("several attempts", |rig| rig.control.attempts() >= 5).await;
    assert_eq!(rig.log.lines_with("refuses this gateway's token"), 1, "{}", rig.log.text());
    assert_eq!(rig.log.lines_with("ERROR"), 1);
    assert!(!rig.log.text().contains("a-wrong-token"));
    std::fs::write(rig.folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    rig.connection().await;
}

#[tokio::test]
async fn a_refused_token_is_retried_slowly_but_at_once_when_its_file_changes() {
    let hour = Duration::from_secs(3600);
    let mut rig = Rig::start("a-wrong-token", Timing { refused_retry: hour, ..timing() }).await;
    rig.wait_for("the refusal", |rig| rig.log.lines_with("refuses") == 1).await;
    std::fs::write(rig.folder.path().join("token"), TOKEN).unwrap();
    rig.connection().await;
    assert_eq!(rig.control.attempts(), 2);
}

#[tokio::test]
async fn an_outage_is_logged_once_and_so_is_its_end() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (connection, _) = rig.connection().await;
    rig.control.answer_with(503);
    drop(connection);
    rig.wait_for("several attempts", |rig| rig.control.attempts() >= 5).await;
    assert!(!rig.status.is_connected());
    assert_eq!(rig.log.lines_with("answered 503"), 1, "{}", rig.log.text());
    rig.control.answer_with(0);
    rig.connection().await;
    rig.wait_for("word of the connection", |rig| rig.log.lines_with("again after") == 1).await;
}

#[tokio::test]
async fn a_server_that_drops_every_connection_is_told_of_once() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    for _ in 0..5 {
        drop(rig.connection().await);
    }
    let told = |rig: &Rig| (rig.log.lines_with("no connection to"), rig.log.lines_with("again after"));
    let (lost, again) = told(&rig);
    assert!(lost <= 2 && again == 1, "closed and reset at most, and once each:\n{}", rig.log.text());
}

#[tokio::test]
async fn a_protocol_that_the_server_does_not_speak_is_told_once_and_retried_slowly() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    for _ in 0..3 {
        let (connection, _) = rig.connection().await;
        connection.close_with(4400, "this server speaks protocol 2").await;
    }
    rig.connection().await;
    assert_eq!(rig.log.lines_with("does not speak protocol version"), 1, "{}", rig.log.text());
}

#[tokio::test]
async fn a_control_plane_that_falls_silent_is_noticed() {
    let limit = Duration::from_millis(300);
    let mut rig = Rig::start(TOKEN, Timing { silence_limit: limit, ..timing() }).await;
    // Nobody reads this one, so nobody answers its pings.
    let (_deaf, _) = rig.connection().await;
    rig.connection().await;
    assert_eq!(rig.log.lines_with("fell silent"), 1, "{}", rig.log.text());
}

#[tokio::test]
async fn a_revision_that_is_not_newer_is_passed_over_also_as_the_first_of_a_connection() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, _) = rig.connection().await;
    for revision in [9, 8, 10] {
        connection.send(sealed(revision)).await;
    }
    assert_eq!(rig.take().await.unwrap(), Revision(9));
    assert_eq!(rig.take().await.unwrap(), Revision(10), "8 is passed over");
    drop(connection);
    let (mut connection, _) = rig.connection().await;
    let with_other_content = Sealed::new(Revision(10), &other_snapshot()).unwrap();
    for replayed in [sealed(4), sealed(4), with_other_content] {
        connection.send(replayed).await;
    }
    connection.send(sealed(11)).await;
    assert_eq!(rig.take().await.unwrap(), Revision(11));
    assert_eq!(rig.status.outdated(), 4, "8 before, and these three");
    assert_eq!(rig.log.lines_with("not newer than the one in force"), 1, "{}", rig.log.text());
}

#[tokio::test]
async fn of_snapshots_that_arrive_during_work_only_the_newest_is_offered() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, _) = rig.connection().await;
    connection.send(sealed(1)).await;
    let first = timeout(PATIENCE, rig.offers.recv()).await.unwrap().unwrap();
    for revision in 2..=6 {
        connection.send(sealed(revision)).await;
    }
    connection.everything_is_read().await;
    first.reply.send(Ok(())).unwrap();
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(1) });
    assert_eq!(rig.take().await.unwrap(), Revision(6));
    assert_eq!(connection.receive().await, FromGateway::Ack { revision: Revision(6) });
}

#[tokio::test]
async fn reports_are_sent_and_stopping_says_goodbye() {
    let mut rig = Rig::start(TOKEN, timing()).await;
    let (mut connection, _) = rig.connection().await;
    let device: DeviceId = snapshot().peers[0].device;
    let report = PeerReport { device, last_handshake_unix: Some(1), received_bytes: 2, sent_bytes: 3 };
    let frames =
        [FromGateway::Peers { peers: vec![report] }, FromGateway::Drops { drops: vec![], missed: 3 }];
    rig.reports.send(frames.to_vec()).await.unwrap();
    for frame in frames {
        assert_eq!(connection.receive().await, frame);
    }
    drop(rig.offers);
    connection.closed().await;
    timeout(PATIENCE, rig.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_token_file_is_named() {
    let rig = Rig::start("", timing()).await;
    rig.wait_for("the log", |rig| rig.log.lines_with("no token in") == 1).await;
    assert!(rig.log.text().contains(Path::new("token").to_str().unwrap()));
    assert_eq!(rig.control.attempts(), 0, "nothing is sent without a token");
}
