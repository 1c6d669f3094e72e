//! What may be said only in some rooms of the tree.

use super::{File, Finding, Weight};

/// A text, where it may not stand, and what to do instead.
struct Ban {
    /// Any of these.
    texts: &'static [&'static str],
    /// In files below any of these folders…
    below: &'static [&'static str],
    /// …but not below any of these.
    except: &'static [&'static str],
    fix: &'static str,
}

const PURE: &[&str] = &["crates/nexa-abi/src/", "crates/nexa-policy/src/", "crates/nexa-gateway-core/src/"];

const BANS: &[Ban] = &[
    Ban {
        texts: &["Utc::now(", "SystemTime::now(", "Instant::now(", "Local::now("],
        below: PURE,
        except: &[],
        fix: "this crate has no clock; take the time as an argument",
    },
    Ban {
        texts: &["std::fs", "std::env", "std::net::Tcp", "std::net::Udp", "std::process"],
        below: PURE,
        except: &[],
        fix: "this crate does no input or output; let gateway-user or control-api do it and pass in what they read",
    },
    Ban {
        texts: &["sqlx::query", "sqlx::raw_sql", "PgConnection", "PgPool"],
        below: &["control-api/src/"],
        except: &["control-api/src/store", "control-api/src/main.rs"],
        fix: "SQL is in control-api/src/store only; add a function there and call it",
    },
    Ban {
        texts: &["env::var", "from_default_env", "env = \"NEXA_"],
        below: &["gateway-user/src/", "control-api/src/"],
        except: &[],
        fix: "settings are read by nexa-config only; make it a flag, and it has a variable and a key in the file",
    },
    Ban {
        texts: &["axum::"],
        below: &["control-api/src/app", "control-api/src/store"],
        except: &[],
        fix: "app and store know no HTTP; do this in control-api/src/http",
    },
    Ban {
        texts: &["#[ignore]"],
        below: &[""],
        except: &["xtask/src/tidy/"],
        fix: "say why and for how long: #[ignore = \"takes five minutes\"]; --full runs it",
    },
];

/// Finds what stands in the wrong room.
pub fn check(files: &[File]) -> Vec<Finding> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.flat_map(|file| BANS.iter().flat_map(|ban| check_file(file, ban))).collect()
}

fn check_file(file: &File, ban: &Ban) -> Vec<Finding> {
    let is_below = |folders: &[&str]| folders.iter().any(|folder| file.path.starts_with(folder));
    if !is_below(ban.below) || is_below(ban.except) {
        return Vec::new();
    }
    let stands = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        ban.texts.iter().any(|text| code.contains(text))
    };
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| stands(line))
        .map(|(index, line)| Finding {
            place: format!("{}:{}", file.path, index + 1),
            fix: format!("`{}`: {}", line.trim(), ban.fix),
            weight: Weight::Fault,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        check(&[File { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn a_clock_in_a_pure_crate_is_found_and_named_by_line() {
        let file = File {
            path: "crates/nexa-policy/src/eval.rs".to_owned(),
            text: "fn f() {\n    let now = Utc::now();\n}\n".to_owned(),
        };
        let found = check(&[file]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/nexa-policy/src/eval.rs:2");
        assert!(found[0].fix.ends_with("take the time as an argument"), "{}", found[0].fix);
    }

    #[test]
    fn the_same_elsewhere_or_in_a_comment_is_fine() {
        assert_eq!(faults("gateway-user/src/gateway.rs", "Utc::now()"), 0);
        assert_eq!(faults("crates/nexa-policy/src/eval.rs", "// not Utc::now()"), 0);
        assert_eq!(faults("control-api/src/store/user.rs", "sqlx::query!()"), 0);
    }

    #[test]
    fn a_daemon_reads_no_variable_itself() {
        assert_eq!(faults("gateway-user/src/logging.rs", "std::env::var(\"X\")"), 1);
        assert_eq!(faults("crates/nexa-config/src/lib.rs", "std::env::vars_os()"), 0);
    }

    #[test]
    fn sql_and_http_stay_in_their_rooms() {
        assert_eq!(faults("control-api/src/app/user.rs", "sqlx::query!()"), 1);
        assert_eq!(faults("control-api/src/http/user/list.rs", "use sqlx::PgConnection;"), 1);
        assert_eq!(faults("control-api/src/app/user.rs", "use axum::Json;"), 1);
        assert_eq!(faults("control-api/src/http/user/list.rs", "use axum::Json;"), 0);
    }

    #[test]
    fn a_test_is_not_switched_off_in_silence() {
        assert_eq!(faults("tests/x.rs", concat!("#[ig", "nore]\nfn f() {}")), 1);
        assert_eq!(faults("tests/x.rs", "#[ignore = \"takes five minutes\"]"), 0);
    }
}
