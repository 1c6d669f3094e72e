//! Flips of what only the programs in the kernel do: reading packets, asking maps, counting, marking, telling, dropping.
//!
//! cargo-mutants says what can be flipped. Of each flip the programs are built, and the kernel's tests run with them. The
//! tests are built once, of a copy in which the programs are read from a file where the gateway has them built in.

use std::{
    fmt, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Equivalent, Plan, cargo_mutants, copy, edit, workspace};
use crate::{
    checkout::Checkout,
    ebpf::{self, Warnings},
    program::Program,
    progress::{say, step},
    test::executable,
};

/// The kernel's tests with all that they are made of: of these the copy is a workspace.
const MEMBERS: [&str; 9] = [
    "crates/nexa-abi",
    "crates/nexa-config",
    "crates/nexa-gateway-core",
    "crates/nexa-policy",
    "crates/nexa-tunnel",
    "crates/nexa-types",
    "crates/nexa-wire",
    "gateway-user",
    "tests/differential",
];

/// The programs, which have a workspace of their own.
const PROGRAMS: &str = "gateway-ebpf";

/// Where the gateway has programs built in, and what the copy has in its place.
const BUILT_IN: [(&str, &str, &str); 2] = [
    ("gateway-user/src/dataplane.rs", ".load(OBJECT)", "NEXA_EBPF_OBJECT"),
    ("gateway-user/src/xdp_guard/program.rs", ".load(OBJECT)", "NEXA_XDP_EBPF_OBJECT"),
];

/// Sources of the programs, without those that only benches load.
const FLIPPED: [&str; 4] = ["src/main.rs", "src/maps.rs", "src/skb.rs", "src/xdp/*.rs"];

/// Tests in the order in which they are tried: each takes longer than those before it, and a flip that one of them notices
/// needs no other.
const TESTS: [&[&str]; 4] = [
    &["reasons::", "skb::", "xdp_guard::", "events::a_drop"],
    &["flows::", "fragments::", "devices::", "limits::", "excluded::", "events::"],
    &["specification::"],
    &["times::", "restart::", "swap::"],
];

/// Packets of random policies that a flip has to get past.
const PACKETS: &str = "200000";

/// How long a group of tests may take, seconds. Programs end by themselves; tests that wait for one may not.
const LIMIT: &str = "180";

/// Flips that change nothing.
const EQUIVALENT: [Equivalent; 3] = [
    Equivalent {
        file: "src/maps.rs",
        line: "if ticks != self.ticks || self.boot_ns == 0 {",
        flip: "replace == with != in Scratch::now_ns",
        reason: "the clock is read for each packet, not for each tick: slower, and never staler",
    },
    Equivalent {
        file: "src/main.rs",
        line: "skb.set_mark(skb.mark() & !MARK_MASK | MARK_ALLOWED);",
        flip: "replace | with ^ in filter",
        reason: "our bits were just cleared, and the value has no others",
    },
    Equivalent {
        file: "src/xdp/frame.rs",
        line: "if offset > IN_PLACE {",
        flip: "replace > with >= in <impl Bytes for Frame>::load_into",
        reason: "the helper reads the same bytes as a look in place, slower",
    },
];

/// What became of a flip.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The compiler refuses it.
    Unbuildable,
    /// A test fails, or the kernel refuses the program.
    Noticed,
    /// It changes nothing, for a reason.
    Equivalent(&'static str),
    /// All tests pass.
    Survived,
}

/// One flip.
struct Flip {
    file: String,
    /// From where to where the file has something else.
    span: [Place; 2],
    replacement: String,
    /// The line that it begins in.
    line: String,
    name: String,
    diff: String,
}

/// Line and column, from 1.
#[derive(Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
}

/// Whether every flip is noticed.
///
/// # Errors
/// When something cannot be copied or built as it is, or tests fail without a flip.
pub fn run(checkout: &Checkout, plan: &Plan, seed: u64) -> Result<bool> {
    let folder = checkout.target().join("mutants");
    let bed = Bed { tree: folder.join("kernel-tree"), objects: folder.join("kernel-objects"), checkout };
    step(format_args!("mutants: copying into {}", bed.tree.display()), || bed.copy())?;
    let flips: Vec<Flip> = bed
        .flips(plan)?
        .into_iter()
        .enumerate()
        .filter(|(number, _)| *number as u64 % plan.one_in == plan.shard(seed))
        .map(|(_, flip)| flip)
        .collect();
    if flips.is_empty() {
        return Ok(true);
    }
    let tests = step("mutants: building the programs and the kernel's tests", || {
        ensure!(bed.build()?, "the programs do not build");
        bed.tests()
    })?;
    ensure!(bed.try_out(&tests)? == Fate::Survived, "the kernel's tests fail without a flip");
    let mut fates = Vec::new();
    for (number, flip) in flips.iter().enumerate() {
        let start = Instant::now();
        let fate = bed.fate(flip, &tests)?;
        let (number, of, seconds) = (number + 1, flips.len(), start.elapsed().as_secs());
        say(format_args!("mutants: {number}/{of} {fate} in {seconds} s: {flip}"));
        fates.push(fate);
    }
    let count = |wanted: fn(&Fate) -> bool| fates.iter().filter(|fate| wanted(fate)).count();
    let survived = count(|fate| *fate == Fate::Survived);
    say(format_args!(
        "mutants: {} flips of the programs: {} noticed, {} equivalent, {} do not build, {survived} survived",
        fates.len(),
        count(|fate| *fate == Fate::Noticed),
        count(|fate| matches!(fate, Fate::Equivalent(_))),
        count(|fate| *fate == Fate::Unbuildable),
    ));
    for (flip, _) in flips.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Survived) {
        println!("{flip}\n{}", flip.diff);
    }
    Ok(survived == 0)
}

/// A copy of the tree, and where its programs are built.
struct Bed<'a> {
    checkout: &'a Checkout,
    tree: PathBuf,
    objects: PathBuf,
}

impl Bed<'_> {
    fn copy(&self) -> Result<()> {
        copy(self.checkout.root(), &self.tree, &[&MEMBERS[..], &[PROGRAMS]].concat())?;
        // What was built last is the last flip of a run before, and newer than what was copied.
        let sources = Program::new("find").arg(self.source().join("src")).args(["-name", "*.rs"]);
        sources.args(["-exec", "touch", "{}", "+"]).run()?;
        fs::create_dir_all(&self.objects).context("cannot make the folder of the programs")?;
        // Where the gateway's build looks whether there are any.
        fs::create_dir_all(self.tree.join("target")).context("cannot make the copy's target")?;
        symlink(&self.objects, self.tree.join("target/ebpf")).context("cannot show the copy the programs")?;
        let manifest = |text: &str| workspace(text, &MEMBERS);
        edit(&self.checkout.root().join("Cargo.toml"), &self.tree.join("Cargo.toml"), manifest)?;
        for (file, built_in, variable) in BUILT_IN {
            let file = self.tree.join(file);
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            ensure!(text.contains(built_in), "{} has no `{built_in}`: say here what it has", file.display());
            let from_file = format!(".load(&std::fs::read(std::env::var(\"{variable}\").unwrap()).unwrap())");
            edit(&file, &file, |text| text.replace(built_in, &from_file))?;
        }
        Ok(())
    }

    fn source(&self) -> PathBuf {
        self.tree.join(PROGRAMS)
    }

    /// What can be flipped, but for constants: the loader sets sizes, and what else is one is asserted.
    fn flips(&self, plan: &Plan) -> Result<Vec<Flip>> {
        let files = FLIPPED.into_iter().filter(|file| plan.flips(&format!("{PROGRAMS}/{file}")));
        let list = cargo_mutants()?
            .directory(&self.source())
            .args(["mutants", "--list", "--json"])
            .args(files.flat_map(|file| ["--file", file]))
            .text()
            .context("cargo-mutants lists nothing of the programs")?;
        let list: Vec<Value> = serde_json::from_str(&list).context("cargo-mutants lists what is no list")?;
        list.iter().filter(|flip| !flip["function"].is_null()).map(|flip| self.flip(flip)).collect()
    }

    fn flip(&self, flip: &Value) -> Result<Flip> {
        let text = |name: &str| {
            flip[name].as_str().map(str::to_owned).with_context(|| format!("a flip without its {name}"))
        };
        let place = |end: &str| {
            let number = |name: &str| {
                let number = flip["span"][end][name].as_u64().context("a flip without its place")?;
                usize::try_from(number).context("a long file")
            };
            anyhow::Ok(Place { line: number("line")?, column: number("column")? })
        };
        let (file, name) = (text("file")?, text("name")?);
        let span = [place("start")?, place("end")?];
        let source = fs::read_to_string(self.source().join(&file)).context("cannot read what is flipped")?;
        let line = source.lines().nth(span[0].line - 1).unwrap_or_default().trim().to_owned();
        // Behind file, line and column.
        let name = name.split_once(": ").map_or(name.as_str(), |(_, name)| name).to_owned();
        Ok(Flip { file, span, replacement: text("replacement")?, line, name, diff: text("diff")? })
    }

    /// Builds the programs. Why the compiler refuses them nobody wants to know.
    fn build(&self) -> Result<bool> {
        let mut command =
            ebpf::build(self.checkout, &self.source(), &self.objects, Warnings::Ignored)?.command();
        let output = command.stdin(Stdio::null()).output().context("cannot build the programs")?;
        if output.status.success() {
            ebpf::take(&self.objects)?;
        }
        Ok(output.status.success())
    }

    fn tests(&self) -> Result<PathBuf> {
        let cargo = self
            .checkout
            .cargo()
            .directory(&self.tree)
            // Of its own: cargo takes the copy's crates for the checkout's, and would mix what it knows of both.
            .env("CARGO_TARGET_DIR", self.objects.with_file_name("kernel-target"))
            .args(["test", "--quiet", "--no-run", "--package", "nexa-differential", "--test", "kernel"]);
        let tests = executable::built(&cargo)?.into_iter().find(|test| test.name == "kernel");
        Ok(tests.context("cargo built no tests of the kernel")?.file)
    }

    fn fate(&self, flip: &Flip, tests: &Path) -> Result<Fate> {
        if let Some(known) = EQUIVALENT.iter().find(|known| flip.is(known)) {
            return Ok(Fate::Equivalent(known.reason));
        }
        let file = self.source().join(&flip.file);
        let before = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let write =
            |text: &str| fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()));
        write(&flip.of(&before).context("a flip of another file")?)?;
        let built = self.build();
        write(&before)?;
        if built? { self.try_out(tests) } else { Ok(Fate::Unbuildable) }
    }

    fn try_out(&self, tests: &Path) -> Result<Fate> {
        for group in TESTS {
            let status = Program::new("timeout")
                .args(["--kill-after=5", LIMIT])
                .arg(tests)
                .args(group)
                .env("NEXA_EBPF_OBJECT", self.objects.join("nexa-gateway-ebpf.o"))
                .env("NEXA_XDP_EBPF_OBJECT", self.objects.join("nexa-xdp-ebpf.o"))
                .env("NEXA_PACKETS", PACKETS)
                .env("RUST_BACKTRACE", "0")
                .root()?
                .command()
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .context("cannot run the kernel's tests")?;
            if !status.success() {
                return Ok(Fate::Noticed);
            }
        }
        Ok(Fate::Survived)
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbuildable => f.write_str("does not build"),
            Self::Noticed => f.write_str("noticed"),
            Self::Equivalent(reason) => write!(f, "equivalent ({reason})"),
            Self::Survived => f.write_str("SURVIVED"),
        }
    }
}

impl Flip {
    /// The file with it.
    fn of(&self, source: &str) -> Option<String> {
        let [start, end] = self.span.map(|place| place.offset(source));
        Some([source.get(..start?)?, &self.replacement, source.get(end?..)?].concat())
    }

    fn is(&self, known: &Equivalent) -> bool {
        let Equivalent { file, line, flip, .. } = known;
        self.file.ends_with(file) && self.line == *line && self.name == *flip
    }
}

impl Place {
    /// In bytes.
    fn offset(self, source: &str) -> Option<usize> {
        let before: usize = source.split_inclusive('\n').take(self.line - 1).map(str::len).sum();
        let (in_line, _) = source.get(before..)?.char_indices().nth(self.column - 1)?;
        Some(before + in_line)
    }
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PROGRAMS}/{}:{}: {}", self.file, self.span[0].line, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Flip, Place};

    #[test]
    fn a_flip_is_where_its_place_says() {
        let flip = |start, end| Flip {
            file: "src/main.rs".to_owned(),
            span: [start, end].map(|(line, column)| Place { line, column }),
            replacement: "-".to_owned(),
            line: String::new(),
            name: String::new(),
            diff: String::new(),
        };
        let source = "fn f() {\n    a + b // …\n}\n";
        assert_eq!(flip((2, 7), (2, 8)).of(source).as_deref(), Some("fn f() {\n    a - b // …\n}\n"));
        assert_eq!(flip((1, 8), (3, 2)).of(source).as_deref(), Some("fn f() -\n"));
        assert_eq!(flip((9, 1), (9, 2)).of(source), None);
    }
}
