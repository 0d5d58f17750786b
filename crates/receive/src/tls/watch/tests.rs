//! Files that are replaced in every way that people and Kubernetes do it.

use super::super::certificate::Pair;
use super::super::testing::{pem, write};
use super::*;
use smtp_config::{CertificateFiles, Config, Profile};
use smtp_observe::{Gauges, Listener};
use std::os::unix::fs::symlink;
use std::path::Path;

fn tls(pairs: &[Pair], observer: &Observer) -> Tls {
    let mut config = Config::defaults(Profile::Production);
    config.tls.cert_file = Some(pairs[0].cert_file.clone());
    config.tls.key_file = Some(pairs[0].key_file.clone());
    let others = pairs[1..].iter().map(|pair| CertificateFiles {
        cert_file: pair.cert_file.clone(),
        key_file: pair.key_file.clone(),
    });
    config.certificates = others.collect();
    Tls::open(&config, observer.clone()).unwrap()
}

fn names(tls: &Tls) -> Vec<Vec<String>> {
    tls.certificates().into_iter().map(|one| one.names).collect()
}

/// The configuration that handshakes are done with, told apart from others.
fn in_use(tls: &Tls) -> usize {
    Arc::as_ptr(&tls.config(Listener::Smtp).unwrap()) as usize
}

fn loads(observer: &Observer, result: &str) -> f64 {
    let series = format!("smtp_tls_certificate_loads_total{{result=\"{result}\"}} ");
    let text = observer.metrics(&Gauges::default());
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
    value.parse().unwrap()
}

#[test]
fn a_rename_and_a_write_in_place_are_taken_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pair = write(folder.path(), &pem(&["one.test"]));
    let observer = Observer::silent();
    let tls = tls(std::slice::from_ref(&pair), &observer);
    let before = in_use(&tls);
    tls.look();
    assert_eq!(in_use(&tls), before, "nothing changed");

    let fresh = write(&folder.path().join("new"), &pem(&["two.test"]));
    std::fs::rename(fresh.cert_file, &pair.cert_file).unwrap();
    std::fs::rename(fresh.key_file, &pair.key_file).unwrap();
    tls.look();
    assert_eq!(names(&tls), [["two.test"]]);
    assert_ne!(in_use(&tls), before);

    write(folder.path(), &pem(&["three.test"]));
    tls.look();
    assert_eq!(names(&tls), [["three.test"]]);
    assert_eq!(loads(&observer, "taken"), 3.0);
    assert_eq!(loads(&observer, "refused"), 0.0);
}

#[test]
fn a_swapped_data_link_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = |path: &str| folder.path().join(path);
    write(&mounted("..2026_1"), &pem(&["one.test"]));
    write(&mounted("..2026_2"), &pem(&["two.test"]));
    symlink("..2026_1", mounted("..data")).unwrap();
    symlink("..data/cert.pem", mounted("cert.pem")).unwrap();
    symlink("..data/key.pem", mounted("key.pem")).unwrap();
    let pair = Pair {
        cert_file: mounted("cert.pem"),
        key_file: mounted("key.pem"),
    };
    let tls = tls(&[pair], &Observer::silent());
    symlink("..2026_2", mounted("..data_tmp")).unwrap();
    std::fs::rename(mounted("..data_tmp"), mounted("..data")).unwrap();
    std::fs::remove_dir_all(mounted("..2026_1")).unwrap();
    tls.look();
    assert_eq!(names(&tls), [["two.test"]]);
}

#[test]
fn a_pair_that_is_not_whole_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pair = write(folder.path(), &pem(&["one.test"]));
    let observer = Observer::silent();
    let tls = tls(std::slice::from_ref(&pair), &observer);
    let (certificate, key) = pem(&["two.test"]);
    std::fs::write(&pair.cert_file, &certificate[..certificate.len() / 2]).unwrap();
    tls.look();
    std::fs::write(&pair.cert_file, certificate).unwrap();
    tls.look();
    assert_eq!(names(&tls), [["one.test"]]);
    std::fs::write(&pair.key_file, key).unwrap();
    tls.look();
    assert_eq!(names(&tls), [["two.test"]]);
    assert_eq!(loads(&observer, "refused"), 0.0);
}

#[test]
fn a_broken_pair_is_reported_once_for_each_change_and_the_old_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let good = pem(&["one.test"]);
    let pair = write(folder.path(), &good);
    let other = write(&folder.path().join("other"), &pem(&["other.test"]));
    let observer = Observer::silent();
    let tls = tls(&[pair.clone(), other.clone()], &observer);
    let before = in_use(&tls);
    let breakages: [&dyn Fn(); 4] = [
        &|| std::fs::write(&pair.key_file, pem(&["one.test"]).1).unwrap(),
        &|| std::fs::write(&pair.cert_file, "nothing\n").unwrap(),
        &|| {
            std::fs::write(
                &pair.cert_file,
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            )
            .unwrap()
        },
        &|| std::fs::remove_file(&pair.key_file).unwrap(),
    ];
    for (count, breakage) in breakages.iter().enumerate() {
        breakage();
        for _ in 0..4 {
            tls.look();
        }
        assert_eq!(loads(&observer, "refused"), (count + 1) as f64);
        assert_eq!(in_use(&tls), before);
    }
    // One broken pair does not hold up another.
    write(&folder.path().join("other"), &pem(&["fresh.test"]));
    tls.look();
    assert_eq!(names(&tls), [["one.test"], ["fresh.test"]]);
    // Back to what is in force: nothing to take, and the next breakage is news.
    write(folder.path(), &good);
    tls.look();
    std::fs::write(&pair.cert_file, "nothing\n").unwrap();
    tls.look();
    tls.look();
    assert_eq!(loads(&observer, "refused"), 5.0);
}

#[test]
fn errors_name_the_file_and_never_show_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = pem(&["one.test"]);
    let foreign = pem(&["two.test"]).1;
    let error = |certificate: &str, key: &str| {
        let pair = write(folder.path(), &(certificate.to_owned(), key.to_owned()));
        let found = Contents::read(&pair).and_then(|contents| contents.parse(&pair, &provider()));
        found.unwrap_err()
    };
    for (text, words) in [
        (error("", &key), "cert.pem: it holds no PEM certificate"),
        (error(&certificate, ""), "key.pem: it holds no PEM private key"),
        (error(&certificate, &foreign), "key.pem: this key does not belong"),
    ] {
        assert!(text.contains(words), "{text}");
        assert!(key.lines().all(|line| !text.contains(line)), "{text}");
    }
    let missing = Pair {
        cert_file: folder.path().join("none.pem"),
        key_file: folder.path().join("key.pem"),
    };
    assert!(Contents::read(&missing).err().unwrap().contains("none.pem: "));
}

#[test]
fn authorities_for_clients_are_watched_too() {
    let folder = tempfile::tempdir().unwrap();
    let pair = write(folder.path(), &pem(&["one.test"]));
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, pem(&["authority.test"]).0).unwrap();
    let observer = Observer::silent();
    let mut config = Config::defaults(Profile::Production);
    config.tls.cert_file = Some(pair.cert_file);
    config.tls.key_file = Some(pair.key_file);
    config.tls.client_ca_file = Some(authority.clone());
    let tls = Tls::open(&config, observer.clone()).unwrap();
    let before = in_use(&tls);
    std::fs::write(&authority, "nothing").unwrap();
    tls.look();
    tls.look();
    assert_eq!((in_use(&tls), loads(&observer, "refused")), (before, 1.0));
    std::fs::write(&authority, pem(&["other.test"]).0).unwrap();
    tls.look();
    assert_ne!(in_use(&tls), before);
}

#[test]
fn a_configuration_that_cannot_be_used_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pair = write(folder.path(), &pem(&["one.test"]));
    let tls = tls(&[pair], &Observer::silent());
    let before = in_use(&tls);
    let mut config = Config::defaults(Profile::Production);
    config.tls.cert_file = Some(Path::new("none.pem").into());
    config.tls.key_file = Some(Path::new("none.pem").into());
    assert!(tls.prepare(&config).unwrap_err().contains("none.pem"));
    assert_eq!(in_use(&tls), before);
    let other = write(&folder.path().join("other"), &pem(&["two.test"]));
    config.tls.cert_file = Some(other.cert_file);
    config.tls.key_file = Some(other.key_file);
    tls.take(tls.prepare(&config).unwrap().unwrap());
    assert_eq!(names(&tls), [["two.test"]]);
}
