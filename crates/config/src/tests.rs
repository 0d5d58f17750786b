//! Tests of loading, checking and showing: the stage; the subjects are in files of their own.

mod properties;
mod refusals;
mod security;
mod shown;
mod sources;
mod values;

use crate::*;
use std::path::PathBuf;

/// Sources from a file's text, variables and flags.
struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(file: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file).unwrap();
        Case {
            folder,
            sources: Sources {
                file: Some(path),
                ..Sources::default()
            },
        }
    }
    fn env(mut self, name: &str, value: &str) -> Case {
        self.sources.environment.insert(name.into(), value.into());
        self
    }
    fn flag(mut self, key: &str, value: &str) -> Case {
        let flag = Flag {
            name: "--set".into(),
            key: key.into(),
            value: value.into(),
        };
        self.sources.flags.push(flag);
        self
    }
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
    fn load(&self) -> Loaded {
        Config::load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }
    /// The errors, without the folder of the file.
    fn errors(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let errors = Config::load(&self.sources).expect_err("it should be refused");
        errors
            .errors
            .iter()
            .map(|error| error.to_string().replace(&folder, ""))
            .collect()
    }
    fn error(&self) -> String {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.into_iter().next().unwrap()
    }
}

const PRODUCTION: &str = "profile = \"production\"\nserver.hostname = \"mx.example.com\"\n\
                          admin.password = \"long enough for it\"\ntls.enabled = false\n";
