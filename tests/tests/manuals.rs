//! Generated from the command line's definitions: manual pages, the reference page, completions in real shells.

use blackbox::server::binary;
use blackbox::tools::{program, run};
use std::path::Path;
use std::process::Command;

fn said(args: &[&str]) -> String {
    let output = run(Command::new(binary()).args(args).env_clear());
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_command_has_a_manual_page_that_man_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    said(&["man", "--dir", &path]);
    let pages: Vec<_> = std::fs::read_dir(&path).expect("the folder").flatten().collect();
    assert!(pages.len() > 30, "{}", pages.len());
    for page in pages {
        let mut man = program("/usr/bin/man");
        man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(page.path());
        let output = run(&mut man);
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(warnings.is_empty(), "{page:?}: {warnings}");
        assert!(
            output.stdout.starts_with(b"smtp-server") || output.stdout.len() > 200,
            "{page:?}"
        );
    }
    for page in ["sendmail.1", "mailq.1", "smtp-server-queue-list.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
        assert!(
            text.contains("drop") || text.contains("\\-\\-limit"),
            "{page}: {text}"
        );
    }
    assert!(said(&["man"]).contains("smtp\\-server"));
}

#[test]
fn the_reference_page_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/commands.md");
    let written = std::fs::read_to_string(page).unwrap_or_default();
    let current = written == said(&["man", "--markdown"]);
    assert!(
        current,
        "docs/reference/commands.md is stale: run `cargo xtask docs`"
    );
    for part in [
        "## smtp-server sendmail",
        "`SMTP_ADMIN_URL`",
        "| 75 |",
        "`--drop-folder FOLDER`",
    ] {
        assert!(written.contains(part), "no {part}");
    }
}

#[test]
fn bash_completes_at_the_tab() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("completions");
    std::fs::write(&script, said(&["completions", "bash"])).expect("write");
    // A terminal, an interactive bash in it, and somebody who types.
    let typed = format!(
        "import os, pty, select, sys\n\
         pid, fd = pty.fork()\n\
         if pid == 0:\n    os.execve('/bin/bash', ['bash', '--norc', '--noprofile', '-i'], {{'PATH': '/usr/bin:/bin', 'TERM': 'dumb', 'PS1': '> '}})\n\
         os.write(fd, b'source {}; echo rea\"\"dy\\n')\n\
         seen = b''\n\
         def until(what):\n\
         \x20   global seen\n\
         \x20   while what not in seen:\n\
         \x20       if not select.select([fd], [], [], 20)[0]: sys.exit('no ' + repr(what) + ' in ' + repr(seen))\n\
         \x20       seen += os.read(fd, 4096)\n\
         \x20   seen = seen.split(what, 1)[1]\n\
         until(b'ready\\r\\n')\n\
         os.write(fd, b'smtp-server que\\t')\n\
         until(b'smtp-server queue ')\n\
         os.write(fd, b'lis\\t')\n\
         until(b'list ')\n\
         os.write(fd, b'--outp\\t')\n\
         until(b'--output ')\n",
        script.display()
    );
    run(program("/usr/bin/python3").args(["-c", &typed]));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(said(&["completions", shell]).contains("sendmail"), "{shell}");
    }
}
