//! What `kubectl` and `helm` know, asked from themselves: their commands and options.

use super::shell::Words;
use packaging::tools::Release;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Kubectl,
    Helm,
}

/// A command line that a program understands.
#[derive(Debug)]
pub(crate) struct Line {
    /// `rollout`, `status`.
    pub(crate) path: Words,
    /// What is neither option nor the value of one.
    pub(crate) arguments: Words,
    /// Options by their long names, with their values.
    pub(crate) options: Vec<(String, String)>,
    /// What follows `--`.
    pub(crate) behind: Words,
}

impl Line {
    /// The values of an option, each time that it is given.
    pub(crate) fn values(&self, option: &str) -> impl Iterator<Item = &str> {
        let given = self.options.iter().filter(move |(name, _)| name == option);
        given.map(|(_, value)| value.as_str())
    }

    pub(crate) fn value(&self, option: &str) -> Option<&str> {
        self.values(option).next()
    }

    pub(crate) fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }
}

/// Option, long or short, to its long name and whether a value follows.
type Options = BTreeMap<String, (String, bool)>;

/// Both releases of a program, with what they have said so far.
pub(crate) struct Known(BTreeMap<(Program, usize, Words), Option<(String, Options)>>);

impl Known {
    pub(crate) fn new() -> Known {
        Known(BTreeMap::new())
    }

    /// Reads a line, without the program's name, as each release does.
    pub(crate) fn read(&mut self, program: Program, words: &[String]) -> Result<Line, String> {
        let mut line = Err(String::new());
        for release in 0..Release::ALL.len() {
            line = Ok(self.read_by(program, release, words)?);
        }
        line
    }

    fn read_by(&mut self, program: Program, release: usize, words: &[String]) -> Result<Line, String> {
        let mut line = Line {
            path: Vec::new(),
            arguments: Vec::new(),
            options: Vec::new(),
            behind: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                line.behind = words.cloned().collect();
                break;
            }
            if word.len() > 1 && word.starts_with('-') {
                let own = self.help(program, release, &line.path)?.1.clone();
                let all = &self.help(program, release, &[])?.1;
                let known = |name: &str| own.get(name).or_else(|| all.get(name)).cloned();
                line.options.extend(option(known, word, &mut words)?);
            } else if line.path.is_empty()
                || (line.arguments.is_empty() && self.is_command(program, release, &line.path, word)?)
            {
                line.path.push(word.clone());
                self.help(program, release, &line.path)?;
            } else {
                line.arguments.push(word.clone());
            }
        }
        Ok(line)
    }

    /// Whether a command's help lists another one below it.
    fn is_command(
        &mut self,
        program: Program,
        release: usize,
        path: &[String],
        word: &str,
    ) -> Result<bool, String> {
        let (help, _) = self.help(program, release, path)?;
        let (_, listed) = help.split_once("Available Commands:").unwrap_or_default();
        let listed = listed.trim_start_matches('\n').lines();
        let mut listed = listed.take_while(|line| line.starts_with("  "));
        Ok(listed.any(|line| line.split_whitespace().next() == Some(word)))
    }

    /// What a command says of itself, and the options in it; of no command, what all have.
    fn help(
        &mut self,
        program: Program,
        release: usize,
        path: &[String],
    ) -> Result<&(String, Options), String> {
        let key = (program, release, path.to_vec());
        let said = self.0.entry(key).or_insert_with(|| {
            let run = |words: &[&str]| {
                let mut command = match program {
                    Program::Kubectl => Release::ALL[release].kubectl(),
                    Program::Helm => Release::ALL[release].helm(),
                };
                let output = command.args(words).output().expect("the program");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                output.status.success().then_some(text)
            };
            let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
            let mut text = run(&words)?;
            // A command of a command that is none gets the help of the other.
            let name = if program == Program::Helm {
                "helm"
            } else {
                "kubectl"
            };
            let usage = format!("{name} {}", path.join(" "));
            let usage = usage.trim_end();
            if !text.lines().any(|line| line.trim_start().starts_with(usage)) {
                return None;
            }
            if program == Program::Kubectl && path.is_empty() {
                text += &run(&["options"])?;
            }
            let options = text.lines().flat_map(|line| described(program, line)).collect();
            Some((text, options))
        });
        let name = path.join(" ");
        said.as_ref()
            .ok_or_else(|| format!("{:?} has no command {name}", Release::ALL[release]))
    }
}

/// The option that a line of help describes: `    -n, --namespace='':` of kubectl, `  -n, --namespace string   text` of Helm.
fn described(program: Program, line: &str) -> Vec<(String, (String, bool))> {
    let text = line.trim_start();
    if !text.starts_with('-') || !line.starts_with("  ") {
        return Vec::new();
    }
    let (short, long) = match text.strip_prefix("--") {
        Some(long) => (None, long),
        None => match text.split_once(", --") {
            Some((short, long)) => (Some(short.to_owned()), long),
            None => return Vec::new(),
        },
    };
    let name = long.split(['=', ' ', ':']).next().expect("a name");
    let takes = match program {
        Program::Kubectl => !long.ends_with("=false:") && !long.ends_with("=true:"),
        // A value that may be left out is never the next word.
        Program::Helm => {
            long[name.len()..].starts_with(' ')
                && !long[name.len()..].starts_with("  ")
                && !long.contains("[=")
        }
    };
    let name = format!("--{name}");
    let mut found = vec![(name.clone(), (name.clone(), takes))];
    found.extend(short.map(|short| (short, (name, takes))));
    found
}

/// What a word that begins with a hyphen says, with the next one if that is its value.
fn option<'w>(
    known: impl Fn(&str) -> Option<(String, bool)>,
    word: &str,
    words: &mut impl Iterator<Item = &'w String>,
) -> Result<Vec<(String, String)>, String> {
    let unknown = |name: &str| format!("no option {name}");
    if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
        let (name, _) = known(name).ok_or_else(|| unknown(name))?;
        return Ok(vec![(name, value.to_owned())]);
    }
    // `-it` is two.
    let several = !word.starts_with("--") && word.len() > 2;
    let names: Vec<String> = match several {
        true => word[1..].chars().map(|c| format!("-{c}")).collect(),
        false => vec![word.to_owned()],
    };
    let mut found = Vec::new();
    for name in names {
        let (long, takes) = known(&name).ok_or_else(|| unknown(&name))?;
        let value = match (takes, several) {
            (true, true) => return Err(format!("{name} wants a value")),
            (true, false) => words
                .next()
                .ok_or_else(|| format!("{name} wants a value"))?
                .clone(),
            (false, _) => "true".to_owned(),
        };
        found.push((long, value));
    }
    Ok(found)
}

#[test]
fn command_lines_are_read_as_the_programs_do() {
    let mut known = Known::new();
    let mut read = |program, line: &str| {
        let words: Words = line.split_whitespace().map(str::to_owned).collect();
        known.read(program, &words)
    };
    let line = read(
        Program::Kubectl,
        "--namespace mail rollout status deploy/x --timeout=5s",
    )
    .expect("a line");
    assert_eq!(
        (line.path.join(" "), line.arguments.join(" ")),
        ("rollout status".into(), "deploy/x".into())
    );
    assert_eq!(
        (line.value("--namespace"), line.value("--timeout")),
        (Some("mail"), Some("5s"))
    );
    let line = read(Program::Kubectl, "debug POD -it --image=b -- sh -c x").expect("a line");
    assert_eq!(
        (line.has("--stdin"), line.behind.join(" ")),
        (true, "sh -c x".into())
    );
    let line = read(Program::Helm, "install x y --wait --values z").expect("a line");
    assert_eq!(
        (line.arguments.join(" "), line.value("--values")),
        ("x y".into(), Some("z"))
    );
    for (program, line, wrong) in [
        (Program::Kubectl, "frobnicate", "has no command frobnicate"),
        (Program::Kubectl, "get pods --frob", "no option --frob"),
        (Program::Kubectl, "logs x --since", "--since wants a value"),
        (Program::Helm, "instal x", "has no command instal"),
        (Program::Helm, "test x --purge", "no option --purge"),
    ] {
        let said = read(program, line).expect_err(line);
        assert!(said.contains(wrong), "{line}: {said}");
    }
}
