//! `wg-quick` takes it for the implementation, in the background.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::pair::{End, PROGRAM, configuration, pair, text};

#[test]
fn wg_quick_brings_it_up_and_down() {
    let [a, b] = pair();
    let folder = tempfile::tempdir().unwrap();
    let quick = |end: &End, verb: &str| {
        let file = folder.path().join(format!("{}.conf", end.interface));
        let output = end
            .ns
            .command("wg-quick")
            .unwrap()
            .args([verb, file.to_str().unwrap()])
            .env("WG_QUICK_USERSPACE_IMPLEMENTATION", PROGRAM)
            .output()
            .unwrap();
        text(output);
    };
    for (end, other, address, more) in
        [(&a, &b, "10.98.0.1/24", ""), (&b, &a, "10.98.0.2/24", "Endpoint = 10.99.0.1:51820")]
    {
        let file = folder.path().join(format!("{}.conf", end.interface));
        let lines = configuration(end, other, more)
            .replace("ListenPort", &format!("Address = {address}\nListenPort"));
        fs::write(&file, lines).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        quick(end, "up");
    }
    b.until("an answer", |end| end.pings("10.98.0.1"));
    for end in [&a, &b] {
        quick(end, "down");
        end.until("its socket is gone", |end| !end.socket().exists());
        assert!(!end.has_interface());
    }
}
