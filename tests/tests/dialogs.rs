//! Every file of `dialogs/` is a test.

use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dialogs")
}

macro_rules! dialogs {
    ($($name:ident $file:literal)*) => {
        $(#[test] fn $name() { blackbox::dialog::play(&folder().join($file)); })*

        #[test]
        fn every_file_is_played() {
            let mut files: Vec<String> = std::fs::read_dir(folder()).expect("dialogs").flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            files.sort();
            let mut played = vec![$($file),*];
            played.sort();
            assert_eq!(files, played);
        }
    };
}

dialogs! {
    addresses "addresses.smtp"
    bdat "bdat.smtp"
    bdat_refused "bdat-refused.smtp"
    dots "dots.smtp"
    early_talker "early-talker.smtp"
    end_of_data "end-of-data.smtp"
    errors "errors.smtp"
    greeting "greeting.smtp"
    helo "helo.smtp"
    long_command "long-command.smtp"
    long_line "long-line.smtp"
    loop_of_mail "loop.smtp"
    null_sender "null-sender.smtp"
    other_protocol "other-protocol.smtp"
    parameters "parameters.smtp"
    pipelining "pipelining.smtp"
    recipients "recipients.smtp"
    relay_denied "relay-denied.smtp"
    reset "reset.smtp"
    sequence "sequence.smtp"
    smtputf8 "smtputf8.smtp"
    too_large "too-large.smtp"
}
