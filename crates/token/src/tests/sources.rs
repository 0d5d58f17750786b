//! Where keys come from, when, and what happens when they do not.

use super::signer::{Signer, jwks};
use super::*;
use crate::{SourceError, TokenError, Why};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

async fn outcome(verifier: &TokenVerifier, signer: &Signer) -> Result<(), TokenError> {
    verifier.verify(&signer.token(&claims())).await.map(|_| ())
}

fn why(verifier: &TokenVerifier) -> Why {
    verifier.last_error().unwrap().why
}

#[tokio::test]
async fn keys_are_asked_for_once_an_hour() {
    let signer = Signer::es256("k1");
    let issuer = Issuer::start(jwks(&[&signer])).await;
    let clock = TestClock::new();
    let verifier = clock.verifier(url(&issuer));
    assert_eq!(issuer.asked(), 0);
    for _ in 0..5 {
        assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    }
    assert_eq!(issuer.asked(), 1);
    clock.advance(3599);
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    assert_eq!(issuer.asked(), 1);
    clock.advance(1);
    issuer.serve(jwks(&[&Signer::es256("k2")]));
    assert_eq!(
        outcome(&verifier, &signer).await,
        Ok(()),
        "the old keys, while the new ones come"
    );
    issuer.until_asked(2).await;
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_by_its_id() {
    let (old, new) = (Signer::es256("2025"), Signer::rsa("2026"));
    let issuer = Issuer::start(jwks(&[&old])).await;
    let clock = TestClock::new();
    let verifier = clock.verifier(url(&issuer));
    assert_eq!(outcome(&verifier, &old).await, Ok(()));
    issuer.serve(jwks(&[&new]));
    assert_eq!(
        outcome(&verifier, &new).await,
        Err(TokenError::UnknownKey),
        "asked less than a minute ago"
    );
    clock.advance(60);
    assert_eq!(outcome(&verifier, &new).await, Ok(()));
    assert_eq!(issuer.asked(), 2);
    assert_eq!(
        outcome(&verifier, &old).await,
        Err(TokenError::UnknownKey),
        "it is withdrawn"
    );
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_no_flood_of_requests() {
    let signer = Signer::es256("k1");
    let issuer = Issuer::start(jwks(&[&signer])).await;
    let clock = TestClock::new();
    let verifier = Arc::new(clock.verifier(url(&issuer)));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    clock.advance(60);
    let stranger = Signer::es256("stranger").token(&claims());
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let (verifier, stranger) = (verifier.clone(), stranger.clone());
            tokio::spawn(async move { verifier.verify(&stranger).await })
        })
        .collect();
    for visitor in flood {
        assert_eq!(visitor.await.unwrap(), Err(TokenError::UnknownKey));
    }
    assert_eq!(issuer.asked(), 2);
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
}

#[tokio::test]
async fn old_keys_outlive_their_source() {
    let signer = Signer::es256("k1");
    let mut issuer = Issuer::start(jwks(&[&signer])).await;
    let clock = TestClock::new();
    let verifier = clock.verifier(url(&issuer));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    issuer.serve("<html>down for maintenance</html>".to_owned());
    clock.advance(3600);
    let stranger = Signer::es256("k2");
    assert_eq!(
        outcome(&verifier, &stranger).await,
        Err(TokenError::KeysUnavailable)
    );
    assert!(matches!(why(&verifier), Why::NotKeys(_)));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    issuer.stop().await;
    clock.advance(60);
    assert_eq!(
        outcome(&verifier, &stranger).await,
        Err(TokenError::KeysUnavailable)
    );
    assert!(matches!(why(&verifier), Why::Request(_)), "{:?}", why(&verifier));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    assert_eq!(verifier.ready().await, Ok(()));
}

#[tokio::test]
async fn without_keys_nobody_gets_in_until_they_come() {
    let signer = Signer::es256("k1");
    let issuer = Issuer::start("{}".to_owned()).await;
    let clock = TestClock::new();
    let verifier = clock.verifier(url(&issuer));
    assert_eq!(
        outcome(&verifier, &signer).await,
        Err(TokenError::KeysUnavailable)
    );
    assert!(TokenError::KeysUnavailable.is_temporary() && !TokenError::UnknownKey.is_temporary());
    let error = verifier.ready().await.unwrap_err();
    assert_eq!(error.place, issuer.url("/jwks"));
    assert!(error.to_string().contains("not a JSON Web Key Set"), "{error}");
    issuer.serve(jwks(&[&signer]));
    assert_eq!(
        outcome(&verifier, &signer).await,
        Err(TokenError::KeysUnavailable)
    );
    assert_eq!(issuer.asked(), 1);
    clock.advance(60);
    assert_eq!(verifier.ready().await, Ok(()));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    assert_eq!((verifier.last_error(), issuer.asked()), (None, 2));
}

#[tokio::test]
async fn only_a_key_set_within_its_limits_is_taken() {
    let signer = Signer::es256("k1");
    let many = |count: usize| json!({ "keys": vec![signer.jwk(); count] }).to_string();
    let padded = |size: usize| {
        let keys = jwks(&[&signer]);
        let padding = " ".repeat(size - keys.len());
        keys + &padding
    };
    let issuer = Issuer::start(String::new()).await;
    for (keys, expected) in [
        (padded(256 * 1024), None),
        (padded(256 * 1024 + 1), Some(Why::TooLarge)),
        (many(64), None),
        (many(65), Some(Why::TooManyKeys)),
        (r#"{"keys":[]}"#.to_owned(), Some(Why::NoUsableKey)),
        (
            r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new"},7]}"#.to_owned(),
            Some(Why::NoUsableKey),
        ),
    ] {
        issuer.serve(keys);
        let verifier = TestClock::new().verifier(url(&issuer));
        let error = verifier.ready().await.err().map(|error| error.why);
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let signer = Signer::es256("k1");
    let issuer = Issuer::start(jwks(&[&signer])).await;
    let source = KeySource::Url {
        url: issuer.url("/moved"),
        ca_file: None,
        bearer_token_file: None,
    };
    let verifier = TestClock::new().verifier(source);
    assert_eq!(verifier.ready().await.unwrap_err().why, Why::Status(307));
    assert_eq!(issuer.asked(), 0);
}

/// It takes the ten seconds that one is given.
#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let source = KeySource::Url {
        url: format!("http://{address}/jwks"),
        ca_file: None,
        bearer_token_file: None,
    };
    let verifier = TestClock::new().verifier(source);
    let error = verifier.ready().await.unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
}

#[tokio::test]
async fn the_token_to_show_is_read_for_each_request() {
    let folder = TempDir::new().unwrap();
    let token_file = folder.path().join("token");
    let signer = Signer::es256("k1");
    let issuer = Issuer::start(jwks(&[&signer])).await;
    issuer.demand("let-me-in");
    let clock = TestClock::new();
    let source = KeySource::Url {
        url: issuer.url("/jwks"),
        ca_file: None,
        bearer_token_file: Some(token_file.clone()),
    };
    let verifier = clock.verifier(source);
    let error = verifier.ready().await.unwrap_err();
    assert!(
        error.to_string().contains(token_file.to_str().unwrap()),
        "{error}"
    );
    for (token, expected) in [("old", Some(Why::Status(403))), ("let-me-in\n", None)] {
        std::fs::write(&token_file, token).unwrap();
        clock.advance(60);
        assert_eq!(verifier.ready().await.err().map(|error| error.why), expected);
    }
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
}

#[tokio::test]
async fn https_is_verified_with_the_ca_that_was_named() {
    let folder = TempDir::new().unwrap();
    let ca_file = folder.path().join("ca.crt");
    let signer = Signer::es256("k1");
    let (address, ca) = https(jwks(&[&signer])).await;
    let verifier = |ca_file| {
        let url = format!("https://localhost:{}/openid/v1/jwks", address.port());
        TestClock::new().verifier(KeySource::Url {
            url,
            ca_file,
            bearer_token_file: None,
        })
    };
    let error = verifier(None).ready().await.unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    std::fs::write(&ca_file, "no PEM").unwrap();
    let error = verifier(Some(ca_file.clone()))
        .ready()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("no certificate in it"), "{error}");
    std::fs::write(&ca_file, ca).unwrap();
    let verifier = verifier(Some(ca_file));
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
}

/// An HTTPS server on loopback, and its certificate in PEM.
async fn https(keys: String) -> (std::net::SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = certified.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                keys.len()
            );
            stream.write_all((head + &keys).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, certified.cert.pem())
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    let clock = TestClock::new();
    let verifier = clock.verifier(file(&path));
    let (old, new) = (Signer::es256("a"), Signer::es256("b"));
    assert_eq!(outcome(&verifier, &old).await, Err(TokenError::KeysUnavailable));
    let SourceError { place, why } = verifier.ready().await.unwrap_err();
    assert_eq!(place, path.display().to_string());
    assert!(matches!(why, Why::File { .. }));
    // As Kubernetes does it: a new file under the old name.
    let replace = |content: String| {
        let beside = folder.path().join("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, &path).unwrap();
    };
    replace(jwks(&[&old]));
    assert_eq!(outcome(&verifier, &old).await, Ok(()));
    replace(jwks(&[&new]));
    assert_eq!(outcome(&verifier, &new).await, Ok(()));
    assert_eq!(outcome(&verifier, &old).await, Err(TokenError::UnknownKey));
    replace("garbage".to_owned());
    assert_eq!(outcome(&verifier, &new).await, Ok(()), "the last good keys stay");
    assert!(matches!(verifier.last_error().unwrap().why, Why::NotKeys(_)));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(outcome(&verifier, &new).await, Ok(()));
    replace(jwks(&[&old]));
    assert_eq!(outcome(&verifier, &old).await, Ok(()));
    assert_eq!(verifier.last_error(), None);
}

/// A client that leaves does not take the keys away from those that stay.
#[tokio::test]
async fn keys_come_although_the_one_who_asked_has_left() {
    let signer = Signer::es256("k1");
    let issuer = Issuer::start(jwks(&[&signer])).await;
    let verifier = TestClock::new().verifier(url(&issuer));
    let token = signer.token(&claims());
    tokio::select! {
        biased;
        outcome = verifier.verify(&token) => panic!("that was too fast: {outcome:?}"),
        () = issuer.until_asked(1) => {}
    }
    assert_eq!(outcome(&verifier, &signer).await, Ok(()));
    assert_eq!(issuer.asked(), 1);
}
