//! As much of PromQL as is needed to see which series an expression asks for. That it is PromQL at all is promtool's to say.

/// A selector: a metric and what its labels have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// What an expression is made of.
#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) selectors: Vec<Selector>,
    /// Labels in `by (…)`, `on (…)` and the like.
    pub(crate) labels: Vec<String>,
    /// Comparisons with a number, outside of braces: where they are, the operator, the number.
    pub(crate) comparisons: Vec<(std::ops::Range<usize>, String, String)>,
}

const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 7] = ["and", "or", "unless", "offset", "bool", "inf", "nan"];

impl Expression {
    pub(crate) fn read(text: &str) -> Expression {
        let mut found = Expression::default();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at..];
            at += match c {
                '"' | '\'' => quoted(rest),
                '[' => rest.find(']').expect("]") + 1,
                '{' => {
                    let (length, matchers) = braces(rest);
                    let selector = found.selectors.last_mut().expect("a metric before {");
                    selector.matchers = matchers;
                    length
                }
                '>' | '<' | '=' | '!' => found.comparison(text, at),
                c if c.is_ascii_digit() => while_in(rest, |c| c.is_ascii_alphanumeric() || c == '.'),
                c if c.is_ascii_alphabetic() || c == '_' => found.word(rest),
                c => c.len_utf8(),
            };
        }
        found
    }

    /// A word and, where it has one, the list behind it; how long they are.
    fn word(&mut self, rest: &str) -> usize {
        let length = while_in(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let (word, behind) = rest.split_at(length);
        let calls = behind.trim_start().starts_with('(');
        if LISTS.contains(&word) {
            if calls {
                let open = behind.find('(').expect("(");
                let close = behind.find(')').expect(")");
                let labels = behind[open + 1..close].split(',').map(str::trim);
                let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
                self.labels.extend(labels);
                return length + close + 1;
            }
        } else if !calls
            && !WORDS.contains(&word)
            && !LISTS
                .iter()
                .any(|list| behind.trim_start().starts_with(&format!("{list} ")))
        {
            // An aggregation may have its labels before what it aggregates: `sum by (x) (…)`, which is none of a metric.
            self.selectors.push(Selector {
                metric: word.to_owned(),
                matchers: Vec::new(),
            });
        }
        length
    }

    /// An operator and the number behind it, when it compares with one; how long they are.
    fn comparison(&mut self, text: &str, at: usize) -> usize {
        let rest = &text[at..];
        let operator = while_in(rest, |c| "><=!".contains(c));
        let behind = &rest[operator..];
        let blanks = while_in(behind, char::is_whitespace);
        let number = while_in(&behind[blanks..], |c| c.is_ascii_digit() || c == '.');
        if number > 0 {
            let length = operator + blanks + number;
            let value = rest[operator + blanks..length].to_owned();
            self.comparisons
                .push((at..at + length, rest[..operator].to_owned(), value));
            return length;
        }
        operator
    }
}

/// The length of what is in braces, and its matchers.
fn braces(rest: &str) -> (usize, Vec<(String, String, String)>) {
    let mut matchers = Vec::new();
    let mut at = 1;
    loop {
        at += while_in(&rest[at..], |c| c.is_whitespace() || c == ',');
        if rest[at..].starts_with('}') {
            return (at + 1, matchers);
        }
        let label = while_in(&rest[at..], |c| c.is_ascii_alphanumeric() || c == '_');
        assert!(label > 0, "a label in {rest}");
        let operator = while_in(&rest[at + label..], |c| "=!~".contains(c));
        let value = at + label + operator;
        let length = quoted(&rest[value..]);
        matchers.push((
            rest[at..at + label].to_owned(),
            rest[at + label..value].to_owned(),
            rest[value + 1..value + length - 1].to_owned(),
        ));
        at = value + length;
    }
}

/// The length of a quoted text, its quotes included.
fn quoted(rest: &str) -> usize {
    let quote = rest.chars().next().expect("a quote");
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    panic!("no end of {rest}")
}

fn while_in(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

#[test]
fn expressions_are_read() {
    let read = Expression::read(
        "sum by (namespace, job) (rate(a_total{job=~\".*x\",reason=~\"p|q\"}[5m] offset 1h)) / on (job) group_left () b > 0.5\n\
         and on (namespace)\nmax(ns:c:rate5m) == 1 unless count without (le) (d{le=\"1.0\"}) >= 14.4 * 0.1",
    );
    let metrics: Vec<&str> = read.selectors.iter().map(|one| one.metric.as_str()).collect();
    assert_eq!(metrics, ["a_total", "b", "ns:c:rate5m", "d"]);
    assert_eq!(
        read.selectors[0].matchers[1],
        ("reason".into(), "=~".into(), "p|q".into())
    );
    assert_eq!(read.labels, ["namespace", "job", "job", "namespace", "le"]);
    let compared: Vec<_> = read
        .comparisons
        .iter()
        .map(|(_, operator, number)| format!("{operator}{number}"))
        .collect();
    assert_eq!(compared, [">0.5", "==1", ">=14.4"]);
}
