//! Commands that pages show: those in blocks of shell and those in backticks, taken apart as a shell does it.

use super::tree::quoted;

/// A simple command: its words without quotes, redirections and comments.
pub(crate) type Words = Vec<String>;

/// The commands of a page's blocks (`bash`, `sh`; of `console` what is behind a prompt), each with the commands within its `$(…)`.
pub(crate) fn of_blocks(page: &str) -> Vec<Words> {
    by_block(page).concat()
}

/// The same, block by block.
pub(crate) fn by_block(page: &str) -> Vec<Vec<Words>> {
    let mut block: Option<(bool, String)> = None;
    let mut found = Vec::new();
    for line in page.lines() {
        let line = line.trim_start();
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(language)) if ["bash", "sh", "console"].contains(&language.trim()) => {
                block = Some((language.trim() == "console", String::new()));
            }
            (Some((_, text)), Some(_)) => {
                found.push(commands(text));
                block = None;
            }
            (Some((console, text)), None) => {
                let typed = line.strip_prefix("$ ").or((!*console).then_some(line));
                *text += typed.unwrap_or_default();
                *text += "\n";
            }
            _ => {}
        }
    }
    found
}

/// The commands of a page in backticks.
pub(crate) fn in_backticks(page: &str) -> Vec<Words> {
    quoted(page).into_iter().flat_map(commands).collect()
}

/// The commands of comments in YAML: a comment's line that begins with one of these programs, and those that it goes on in.
pub(crate) fn in_comments(yaml: &str, programs: &[&str]) -> Vec<Words> {
    let mut text = String::new();
    for line in yaml.lines() {
        let Some(comment) = line.trim_start().strip_prefix('#') else {
            continue;
        };
        let begins = programs
            .iter()
            .any(|program| comment.trim_start().starts_with(&format!("{program} ")));
        if begins || text.ends_with("\\\n") {
            text += comment.trim_start();
            text += "\n";
        }
    }
    commands(&text)
}

/// The simple commands of a script, in the order of their ends.
pub(crate) fn commands(script: &str) -> Vec<Words> {
    let mut reader = Reader {
        rest: script.chars().collect::<Vec<_>>().into_iter().peekable(),
        found: Vec::new(),
        words: Vec::new(),
        word: None,
        redirected: false,
    };
    reader.read(None);
    reader.found
}

struct Reader {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
    found: Vec<Words>,
    words: Words,
    word: Option<String>,
    /// The next word is a file.
    redirected: bool,
}

impl Reader {
    /// Reads up to the end, or to a closing parenthesis.
    fn read(&mut self, end: Option<char>) {
        while let Some(c) = self.rest.next() {
            match c {
                _ if Some(c) == end => break,
                '\\' => match self.rest.next() {
                    Some('\n') | None => {}
                    Some(c) => self.push(c),
                },
                '\'' => {
                    self.word.get_or_insert_default();
                    while let Some(c) = self.rest.next().filter(|c| *c != '\'') {
                        self.push(c);
                    }
                }
                '"' => self.double_quoted(),
                '$' if self.rest.peek() == Some(&'(') => self.nested(),
                '#' if self.word.is_none() => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '|' | '&' | ';' | '\n' => self.end_command(),
                '>' | '<' => {
                    self.end_word();
                    self.redirected = true;
                }
                c if c.is_whitespace() => self.end_word(),
                c => self.push(c),
            }
        }
        self.end_command();
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default();
        while let Some(c) = self.rest.next() {
            match c {
                '"' => break,
                '\\' => {
                    let c = self.rest.next().unwrap_or('\\');
                    self.push(c);
                }
                '$' if self.rest.peek() == Some(&'(') => self.nested(),
                c => self.push(c),
            }
        }
    }

    /// `$(…)`, whose commands are found, and which is a word that nobody knows.
    fn nested(&mut self) {
        self.rest.next();
        let (words, word) = (std::mem::take(&mut self.words), self.word.take());
        self.read(Some(')'));
        self.words = words;
        self.word = word;
        "$(…)".chars().for_each(|c| self.push(c));
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.redirected) {
            self.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let mut words = std::mem::take(&mut self.words);
        if words
            .first()
            .is_some_and(|word| ["do", "then", "!"].contains(&word.as_str()))
        {
            words.remove(0);
        }
        if !words.is_empty() {
            self.found.push(words);
        }
    }
}

#[test]
fn scripts_are_taken_apart() {
    let script = "kubectl get pods -n mail  # look\nfor x in $(kubectl get pvc -o jsonpath='{.items[*].a b}'); do\n  \
                  kubectl patch pv $x --patch '{\"a\": 1}' \\\n    --type merge\ndone\n\
                  a --b=\"c d\" | grep -c 'x|y' >file & wait; b && c\n";
    let read: Vec<String> = commands(script).iter().map(|words| words.join("·")).collect();
    assert_eq!(
        read,
        [
            "kubectl·get·pods·-n·mail",
            "kubectl·get·pvc·-o·jsonpath={.items[*].a b}",
            "for·x·in·$(…)",
            "kubectl·patch·pv·$x·--patch·{\"a\": 1}·--type·merge",
            "done",
            "a·--b=c d",
            "grep·-c·x|y",
            "wait",
            "b",
            "c",
        ]
    );
}
