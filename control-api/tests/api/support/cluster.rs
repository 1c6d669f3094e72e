use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Starts Postgres in a new folder, says where, and waits for its standard input to end: so the cluster goes with
/// the test program, however that ends.
const SUPERVISOR: &str = r#"
set -eu
trap '' INT HUP TERM
dir=$(mktemp -d "${TMPDIR:-/tmp}/nexa-pg-XXXXXX")
trap 'pg_ctl -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
initdb -D "$dir/data" -U nexa -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
sed -i "1i local all locked scram-sha-256" "$dir/data/pg_hba.conf"
options="-c listen_addresses='' -c unix_socket_directories=$dir -c max_connections=400 -c fsync=off -c full_page_writes=off"
pg_ctl -D "$dir/data" -l "$dir/log" -o "$options" -w start >/dev/null || { cat "$dir/log" >&2; exit 1; }
echo "$dir"
exec 1>&-
cat >/dev/null || true
"#;

/// The folder of the cluster's socket.
pub fn socket_folder() -> &'static Path {
    static CLUSTER: OnceLock<(PathBuf, Child)> = OnceLock::new();
    &CLUSTER.get_or_init(start).0
}

fn start() -> (PathBuf, Child) {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    let mut command = if is_root {
        // Postgres refuses to run as root.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "sh", "-c", SUPERVISOR]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR]);
        command
    };
    let path = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Postgres starts");
    let mut folder = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut folder).unwrap();
    assert!(!folder.is_empty(), "Postgres did not start; see above");
    // Its standard input stays open as long as this program runs.
    (PathBuf::from(folder.trim()), child)
}

/// Debian keeps the server's programs outside the path.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.map_or_else(PathBuf::new, |entry| entry.path().join("bin"))
}
