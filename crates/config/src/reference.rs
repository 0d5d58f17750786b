//! The settings' reference page, from the declarations.

use crate::descriptor::{ANY, Descriptor};
use crate::kinds::Profile;
use crate::lists::LISTS;
use crate::schema::one_line;
use crate::show::cell;
use crate::tree::{Config, SECTIONS, SETTINGS};
use std::fmt::Write as _;

const HEAD: &str = "\
<!-- Made by `smtp-server config reference` from crates/config/src/tree.rs; change it there. -->
# Configuration

Order, later wins: built-in defaults < profile < file < environment < flags. The file is `--config`, else `SMTP_CONFIG`,
else `/etc/smtp-server/config.toml` if it exists. Unknown keys are errors. `smtp-server check` says what is
wrong; `smtp-server config show` prints every value and where it came from.

Every key has a variable `SMTP_<SECTION>__<KEY>` (`SMTP_LIMITS__MAX_RECIPIENTS=50`; lists with commas), some a short one too,
and each variable may end in `_FILE` and name a file that holds the value. On the command line:
`--set section.key=value`. Times are whole seconds, sizes octets.

Each setting says whether a reload puts a changed value in force (`live`) or a restart does; `config show` and a reload say it too. The
file and every file that is named in it are read again when they change (`docs/operations.md`); variables and flags cannot
change while the server runs.

`profile` (`SMTP_PROFILE`, `--profile`) is `development` (the default: loopback, all mail captured), `production` (all
interfaces, refuses to start without what production needs) or `testing` (loopback, routes as configured).
";

/// The page `docs/reference/configuration.md`.
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    for (section, doc) in SECTIONS {
        let _ = write!(
            page,
            "\n## `[{section}]`\n{}\n\n| key | type | default | |\n| --- | --- | --- | --- |\n",
            one_line(doc)
        );
        for setting in SETTINGS.iter().filter(|setting| setting.section == *section) {
            page.push_str(&row(setting));
        }
    }
    for list in LISTS {
        let _ = write!(
            page,
            "\n## `[[{}]]`\n{} Only in the file. {}.\n\n",
            list.name,
            list.doc,
            capital(list.reload.words())
        );
        page.push_str("| key | type | default | |\n| --- | --- | --- | --- |\n");
        for key in list.keys {
            let default = if key.default.is_empty() {
                "has to be set"
            } else {
                key.default
            };
            let _ = writeln!(
                page,
                "| `{}` | {}{} | {default} | {} |",
                key.name,
                if key.many { "list: " } else { "" },
                key.kind,
                key.doc
            );
        }
    }
    page
}

fn row(setting: &Descriptor) -> String {
    let unit = if setting.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", setting.unit)
    };
    let members = if setting.members.is_empty() {
        String::new()
    } else {
        format!(": {}", setting.members)
    };
    let range = match setting.range {
        ANY => String::new(),
        (least, most) => format!(", {least} to {most}"),
    };
    let mut notes = vec![one_line(setting.doc)];
    if !setting.env.is_empty() {
        notes.push(format!("`{}`.", setting.env));
    }
    notes.push(format!("{}.", capital(setting.reload.words())));
    if setting.secret {
        notes.push("Never shown.".into());
    }
    format!(
        "| `{}` | {}{members}{unit}{range} | {} | {} |\n",
        setting.key(),
        setting.kind,
        default(setting),
        notes.join(" ")
    )
}

/// The default, by profile where they differ.
fn default(setting: &Descriptor) -> String {
    if !setting.default_words.is_empty() {
        return setting.default_words.into();
    }
    if !setting.follows.is_empty() {
        return format!("`{}`", setting.follows);
    }
    let of = |profile: Profile| match cell(&setting.shown(&Config::defaults(profile))).as_str() {
        "-" | "[]" => "none".to_owned(),
        value => format!("`{value}`"),
    };
    let common = of(Profile::Testing);
    let others = Profile::ALL.iter().filter(|profile| of(**profile) != common);
    let others: Vec<String> = others
        .map(|profile| format!("; {}: {}", profile.name(), of(*profile)))
        .collect();
    common + &others.concat()
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
