//! Which tokens count.

use super::signer::{Signer, hs256, jwks, message};
use super::*;
use crate::{Claim, Identity, MAX_TOKEN, SettingsError, TokenError};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;

/// A verifier with these signers' keys in a file.
fn verifier(keys: String) -> (TempDir, TokenVerifier) {
    verifier_of(keys, |_| ())
}

fn verifier_of(keys: String, change: impl FnOnce(&mut TokenSettings)) -> (TempDir, TokenVerifier) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, keys).unwrap();
    let mut settings = settings(file(&path));
    change(&mut settings);
    (folder, TokenVerifier::new(settings).unwrap())
}

async fn name(verifier: &TokenVerifier, token: &str) -> Result<String, TokenError> {
    verifier.verify(token).await.map(|Identity { name }| name)
}

const CHECKOUT: &str = "system:serviceaccount:shop:checkout";

#[tokio::test]
async fn a_projected_service_account_token_counts() {
    for signer in [Signer::rsa("k1"), Signer::es256("k1")] {
        let (_folder, verifier) = verifier(jwks(&[&signer]));
        assert_eq!(
            name(&verifier, &signer.token(&claims())).await,
            Ok(CHECKOUT.to_owned())
        );
    }
}

#[tokio::test]
async fn every_algorithm_of_a_public_key_counts() {
    let (rsa, es256, es384) = (Signer::rsa("rsa"), Signer::es256("es256"), Signer::es384("es384"));
    let ed = Signer::ed25519("ed");
    let (_folder, verifier) = verifier(jwks(&[&rsa, &es256, &es384, &ed]));
    for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = rsa.token_with(&json!({ "alg": alg, "kid": "rsa" }), &claims());
        assert_eq!(name(&verifier, &token).await, Ok(CHECKOUT.to_owned()), "{alg}");
    }
    for signer in [&es256, &es384, &ed] {
        assert_eq!(
            name(&verifier, &signer.token(&claims())).await,
            Ok(CHECKOUT.to_owned()),
            "{}",
            signer.kid
        );
    }
}

#[tokio::test]
async fn no_other_algorithm_counts() {
    let (rsa, ec) = (Signer::rsa("rsa"), Signer::es256("ec"));
    let (_folder, verifier) = verifier(jwks(&[&rsa, &ec]));
    let confused = hs256("rsa", &rsa.public(), &claims());
    assert_eq!(name(&verifier, &confused).await, Err(TokenError::Algorithm));
    for alg in ["none", "None", "NONE", "ES512", ""] {
        let unsigned = message(&json!({ "alg": alg, "kid": "rsa" }), &claims());
        for token in [format!("{unsigned}."), format!("{unsigned}.AAAA")] {
            assert_eq!(name(&verifier, &token).await, Err(TokenError::Malformed), "{alg}");
        }
    }
    let crossed = ec.token_with(&json!({ "alg": "ES256", "kid": "rsa" }), &claims());
    assert_eq!(
        name(&verifier, &crossed).await,
        Err(TokenError::Algorithm),
        "an EC signature under an RSA key's id"
    );
}

#[tokio::test]
async fn a_shared_secret_is_no_key() {
    let signer = Signer::rsa("k1");
    let secret = json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0" });
    let keys = json!({ "keys": [secret, signer.jwk()] }).to_string();
    let (_folder, verifier) = verifier(keys);
    assert_eq!(
        name(&verifier, &hs256("shared", b"secret", &claims())).await,
        Err(TokenError::Algorithm)
    );
    assert_eq!(
        name(&verifier, &signer.token(&claims())).await,
        Ok(CHECKOUT.to_owned())
    );
}

#[tokio::test]
async fn a_key_serves_for_what_it_says() {
    let signer = Signer::rsa("k1");
    let with = |name: &str, value: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().remove("use");
        jwk.as_object_mut().unwrap().insert(name.to_owned(), value);
        // Another key, so that the set is not empty.
        json!({ "keys": [jwk, Signer::es256("other").jwk()] }).to_string()
    };
    for (key, value, expected) in [
        ("alg", json!("RS256"), Ok(CHECKOUT.to_owned())),
        ("alg", json!("PS256"), Err(TokenError::Algorithm)),
        ("alg", json!("RSA-OAEP"), Err(TokenError::UnknownKey)),
        ("use", json!("enc"), Err(TokenError::UnknownKey)),
        ("key_ops", json!(["verify"]), Ok(CHECKOUT.to_owned())),
        ("key_ops", json!(["encrypt"]), Err(TokenError::UnknownKey)),
        ("n", json!("not base64!"), Err(TokenError::UnknownKey)),
        ("x5c", json!("no list"), Err(TokenError::UnknownKey)),
    ] {
        let (_folder, verifier) = verifier(with(key, value.clone()));
        assert_eq!(
            name(&verifier, &signer.token(&claims())).await,
            expected,
            "{key} {value}"
        );
    }
}

/// The modulus of a key of 1024 bits (aws-lc-rs makes none), and a token that OpenSSL signed with it.
const SHORT_KEY: &str = "xOL8Gy89J4RXTf6XnxyUizVOYkB7tdYZL_j61Bcmi0eoFR4Ea7LgukmTc0G7psQhK3N9xkdamowAN4cfbj5zAH\
                         vrsCmz_6BeaiMM26TespyF0ZP9ZVgz34XYTK1dLjffo51zpRHcS5Fktfz8uuKsgI6Ac2wDhljeWFT4of3uHxU";
const SHORT_KEYS_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJhdWQiOiJzbXRwIiwiZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJodHRw\
                                czovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCIsInN1YiI6ImFubiJ9\
                                .\
                                klASTNUJ6OyG8A8IyCKdX6BnDchMVawye9nhbonZ1yuWw2CTsHY-TJzKOOx6pPJLiy4yHCEleHvhdSEWqjKE3J\
                                eoF7a2oreDZRQAy8UAXXSIKo-QIhW07epB5t1RdOiMEYcUZwg_bKGHpb_gvug1ER5yq7h5BtRwoedNvl-MDrk";

#[tokio::test]
async fn a_short_rsa_key_does_not_count() {
    let jwk = json!({ "kty": "RSA", "kid": "k1", "n": SHORT_KEY, "e": "AQAB" });
    let (_folder, verifier) = verifier(json!({ "keys": [jwk] }).to_string());
    assert_eq!(
        name(&verifier, SHORT_KEYS_TOKEN).await,
        Err(TokenError::Signature)
    );
    let (message, signature) = SHORT_KEYS_TOKEN.rsplit_once('.').unwrap();
    let [n, signature] = [SHORT_KEY, signature].map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
    let key = RsaPublicKeyComponents { n, e: vec![1, 0, 1] };
    let kind = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
    key.verify(kind, message.as_bytes(), &signature)
        .expect("it is for its length only");
    let long = Signer::rsa_of("k1", KeySize::Rsa4096);
    let (_folder, verifier) = self::verifier(jwks(&[&long]));
    assert_eq!(
        name(&verifier, &long.token(&claims())).await,
        Ok(CHECKOUT.to_owned())
    );
}

#[tokio::test]
async fn a_token_without_a_key_id_is_tried_with_each_key() {
    let signers = [
        Signer::es256("a"),
        Signer::rsa("b"),
        Signer::es256("c"),
        Signer::rsa("d"),
    ];
    let (_folder, verifier) = verifier(jwks(&signers.each_ref()));
    for (signer, alg) in signers.iter().zip(["ES256", "RS256", "ES256", "RS256"]) {
        let token = signer.token_with(&json!({ "alg": alg }), &claims());
        assert_eq!(
            name(&verifier, &token).await,
            Ok(CHECKOUT.to_owned()),
            "{}",
            signer.kid
        );
    }
    let stranger = Signer::es256("a").token_with(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(name(&verifier, &stranger).await, Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn each_claim_counts() {
    let signer = Signer::es256("k1");
    let (_folder, verifier) = verifier(jwks(&[&signer]));
    let other = json!("https://elsewhere.example");
    let ok = || Ok(CHECKOUT.to_owned());
    for (claim, value, expected) in [
        ("exp", json!(time(-50)), ok()),
        ("exp", json!(time(-70)), Err(TokenError::Expired)),
        ("exp", json!(0), Err(TokenError::Expired)),
        ("exp", json!("tomorrow"), Err(TokenError::NoExpiry)),
        ("exp", Value::Null, Err(TokenError::NoExpiry)),
        ("nbf", json!(time(50)), ok()),
        ("nbf", json!(time(80)), Err(TokenError::NotYetValid)),
        ("nbf", json!("now"), Err(TokenError::NotYetValid)),
        ("nbf", Value::Null, ok()),
        ("aud", json!("mail"), ok()),
        ("aud", json!(["other", "smtp"]), ok()),
        ("aud", json!(["other"]), Err(TokenError::Audience)),
        ("aud", json!("smtpd"), Err(TokenError::Audience)),
        ("aud", json!([]), Err(TokenError::Audience)),
        ("aud", json!(7), Err(TokenError::Audience)),
        ("aud", Value::Null, Err(TokenError::Audience)),
        ("iss", other, Err(TokenError::Issuer)),
        ("iss", json!(format!("{ISSUER}/")), Err(TokenError::Issuer)),
        ("iss", Value::Null, Err(TokenError::Issuer)),
        ("sub", Value::Null, Err(TokenError::NoAccount)),
        ("sub", json!(7), Err(TokenError::NoAccount)),
        ("sub", json!(""), Err(TokenError::NoAccount)),
        ("sub", json!("a\r\nb"), Err(TokenError::NoAccount)),
        ("sub", json!("x".repeat(256)), Err(TokenError::NoAccount)),
        ("sub", json!("x".repeat(255)), Ok("x".repeat(255))),
    ] {
        let token = signer.token(&claims_with(claim, value.clone()));
        assert_eq!(name(&verifier, &token).await, expected, "{claim} {value}");
    }
}

#[tokio::test]
async fn the_account_is_named_by_the_claim_that_was_chosen() {
    let signer = Signer::es256("k1");
    let mut claims = claims_with("email", json!("ann@example.com"));
    claims["a/b"] = json!("slash");
    claims["https://example.com/name"] = json!("url");
    for (claim, expected) in [
        ("email", Ok("ann@example.com")),
        ("/kubernetes.io/serviceaccount/name", Ok("checkout")),
        ("/kubernetes.io/namespace", Ok("shop")),
        ("/aud/0", Ok("smtp")),
        ("/a~1b", Ok("slash")),
        ("https://example.com/name", Ok("url")),
        ("kubernetes.io", Err(TokenError::NoAccount)),
        ("/kubernetes.io", Err(TokenError::NoAccount)),
        ("/kubernetes/io/namespace", Err(TokenError::NoAccount)),
        ("groups", Err(TokenError::NoAccount)),
    ] {
        let (_folder, verifier) = verifier_of(jwks(&[&signer]), |settings| {
            settings.claim = claim.parse().unwrap()
        });
        let outcome = name(&verifier, &signer.token(&claims)).await;
        assert_eq!(outcome, expected.map(str::to_owned), "{claim}");
    }
    for claim in ["", "/", "/a~2b", "/a~"] {
        assert_eq!(
            claim.parse::<Claim>(),
            Err(SettingsError::Claim(claim.to_owned()))
        );
    }
}

#[tokio::test]
async fn a_changed_token_does_not_count() {
    let signer = Signer::es256("k1");
    let (_folder, verifier) = verifier(jwks(&[&signer]));
    let token = signer.token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let forged = message(
        &json!({ "alg": "ES256", "kid": "k1" }),
        &claims_with("sub", json!("admin")),
    );
    assert_eq!(
        name(&verifier, &format!("{forged}.{}", parts[2])).await,
        Err(TokenError::Signature)
    );
    let stranger = Signer::es256("k1").token(&claims());
    assert_eq!(name(&verifier, &stranger).await, Err(TokenError::Signature));
    for token in [
        "",
        "x",
        "..",
        parts[0],
        &parts[..2].join("."),
        &format!("{token}.{token}"),
        &format!(" {token}"),
        &token.replace('.', ".."),
        &format!("{}.{}.!", parts[0], parts[1]),
    ] {
        let outcome = name(&verifier, token).await;
        assert!(
            matches!(outcome, Err(TokenError::Malformed | TokenError::Signature)),
            "{token} {outcome:?}"
        );
    }
    let critical = signer.token_with(
        &json!({ "alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": true }),
        &claims(),
    );
    assert_eq!(name(&verifier, &critical).await, Err(TokenError::Malformed));
    let no_claims = signer.token(&json!([1, 2]));
    assert_eq!(name(&verifier, &no_claims).await, Err(TokenError::Malformed));
}

#[tokio::test]
async fn a_long_token_is_not_read() {
    let signer = Signer::es256("k1");
    let (_folder, verifier) = verifier(jwks(&[&signer]));
    let sized = |size: usize| signer.token(&claims_with("pad", json!("x".repeat(size))));
    let spare = (MAX_TOKEN - sized(0).len()) / 4 * 3;
    assert!(sized(spare - 2).len() <= MAX_TOKEN);
    assert_eq!(name(&verifier, &sized(spare - 2)).await, Ok(CHECKOUT.to_owned()));
    assert_eq!(name(&verifier, &sized(spare + 3)).await, Err(TokenError::TooLong));
}

#[test]
fn settings_must_say_whose_tokens_for_whom() {
    let of = |change: &dyn Fn(&mut TokenSettings)| {
        let mut settings = settings(file(Path::new("/nowhere")));
        change(&mut settings);
        TokenVerifier::new(settings).map(|_| ()).unwrap_err()
    };
    assert_eq!(of(&|settings| settings.issuer.clear()), SettingsError::NoIssuer);
    assert_eq!(
        of(&|settings| settings.audience.clear()),
        SettingsError::NoAudience
    );
    assert_eq!(
        of(&|settings| settings.audience.push(String::new())),
        SettingsError::NoAudience
    );
    let from = |url: &str| {
        let source = KeySource::Url {
            url: url.to_owned(),
            ca_file: None,
            bearer_token_file: None,
        };
        TokenVerifier::new(settings(source)).map(|_| ())
    };
    for url in [
        "https://issuer.example/jwks",
        "http://127.0.0.1:8001/k",
        "http://[::1]/k",
        "http://localhost/k",
    ] {
        assert_eq!(from(url), Ok(()), "{url}");
    }
    for url in [
        "http://issuer.example/jwks",
        "http://127.0.0.1.example/k",
        "http://localhost.example/k",
        "https://user:secret@issuer.example/jwks",
        "file:///etc/jwks",
        "issuer.example",
        "",
    ] {
        assert_eq!(from(url), Err(SettingsError::Url(url.to_owned())));
    }
}
