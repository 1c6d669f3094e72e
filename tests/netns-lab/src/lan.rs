//! The LAN's servers: Debian's nginx and dnsmasq.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{
    folder::Folder,
    ledger::Ledger,
    names::{SERVER, port},
    namespace::Namespace,
    probe,
    process::Process,
    wait,
};

/// Path of a file that no client finishes downloading.
pub const LONG: &str = "/long";

/// Its size, bytes. The file is sparse.
const LONG_BYTES: u64 = 8 << 30;

/// The name that the LAN's DNS server knows.
pub const HOST: &str = "intranet.lan.test";

/// The running servers.
#[derive(Debug)]
pub struct Servers {
    web: Process,
    dns: Process,
    body: String,
    certificate: PathBuf,
}

impl Servers {
    /// Starts them and waits until they answer.
    ///
    /// # Errors
    /// When one does not.
    pub fn start(namespace: &Namespace, folder: &Folder, ledger: &Ledger) -> Result<Self> {
        let home = folder.fresh("lan")?;
        let certificate = make_certificate(&home)?;
        let body = format!("Served on the LAN, run {}\n", random_hex()?);
        let site = home.join("site");
        fs::create_dir(&site).and_then(|()| fs::write(site.join("index.html"), &body)).context("no site")?;
        File::create(site.join(LONG.trim_start_matches('/')))
            .and_then(|file| file.set_len(LONG_BYTES))
            .context("cannot make the long download")?;
        let configuration = home.join("nginx.conf");
        fs::write(&configuration, nginx(&home)).context("cannot write nginx.conf")?;

        let mut command = namespace.command("nginx")?;
        command.arg("-c").arg(&configuration).arg("-e").arg(folder.log("nginx"));
        let mut web = Process::start("nginx", command, Signal::SIGTERM, &folder.log("nginx"), ledger)?;
        let mut command = namespace.command("dnsmasq")?;
        command.args(dnsmasq());
        let mut dns = Process::start("dnsmasq", command, Signal::SIGTERM, &folder.log("dnsmasq"), ledger)?;

        wait::until("the LAN's servers do not answer", Duration::from_secs(10), || {
            web.check()?;
            dns.check()?;
            let ports = [port::HTTP, port::SECOND_HTTP, port::NEVER, port::HTTPS, port::DNS];
            let open = namespace.run(|| {
                ports.iter().flat_map(|port| SERVER.sockets(*port)).all(|address| {
                    probe::connect(address, Duration::from_millis(200), probe::Hops::Usual).is_ok()
                })
            })?;
            Ok(open.then_some(()))
        })?;
        Ok(Self { web, dns, body, certificate })
    }

    /// What `GET /` answers, on every port; unique to this run.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The certificate of HTTPS, which clients must trust by file.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Process ids and logs, by name.
    pub fn processes(&self) -> [(&'static str, i32, &Path); 2] {
        [("nginx", self.web.pid(), self.web.log()), ("dnsmasq", self.dns.pid(), self.dns.log())]
    }
}

/// nginx as root: it runs in the lab's namespace only, and its files may be below a folder that no other user enters.
fn nginx(home: &Path) -> String {
    let listen: String = [port::HTTP, port::SECOND_HTTP, port::NEVER]
        .iter()
        .map(|port| format!("        listen {port}; listen [::]:{port};\n"))
        .collect();
    let https = port::HTTPS;
    let home = home.display();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid \"{home}/nginx.pid\";\n\
         events {{ worker_connections 512; }}\n\
         http {{\n    access_log off;\n    sendfile on;\n    default_type text/plain;\n\
         \x20   client_body_temp_path \"{home}/tmp\";\n    proxy_temp_path \"{home}/tmp\";\n\
         \x20   fastcgi_temp_path \"{home}/tmp\";\n    uwsgi_temp_path \"{home}/tmp\";\n\
         \x20   scgi_temp_path \"{home}/tmp\";\n\
         \x20   server {{\n{listen}        listen {https} ssl; listen [::]:{https} ssl;\n\
         \x20       ssl_certificate \"{home}/certificate.pem\";\n        ssl_certificate_key \"{home}/key.pem\";\n\
         \x20       root \"{home}/site\";\n    }}\n}}\n"
    )
}

fn dnsmasq() -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"]
            .map(str::to_owned)
            .into();
    arguments.extend(
        ["--pid-file=", "--log-facility=-", "--interface=lan0", "--bind-interfaces", "--local=/lan.test/"]
            .map(str::to_owned),
    );
    arguments.push(format!("--host-record={HOST},{},{}", SERVER.v4, SERVER.v6));
    arguments
}

fn make_certificate(home: &Path) -> Result<PathBuf> {
    let certificate = home.join("certificate.pem");
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "30", "-subj", &format!("/CN={HOST}"), "-addext"])
        .arg(format!("subjectAltName=DNS:{HOST},IP:{},IP:{}", SERVER.v4, SERVER.v6))
        .arg("-keyout")
        .arg(home.join("key.pem"))
        .arg("-out")
        .arg(&certificate)
        .output()
        .context("cannot start openssl")?;
    if !output.status.success() {
        bail!("cannot make a certificate: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(certificate)
}

/// 128 random bits in hex: a password, a body that nobody can have seen before.
///
/// # Errors
/// When the kernel has no randomness.
pub fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("no randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
