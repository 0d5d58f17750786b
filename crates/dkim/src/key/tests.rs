use super::*;

const RSA_PKCS8: &str = include_str!("testdata/rsa_pkcs8.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rsa_public.pem");
/// The secret key of RFC 8463 A.2, as PKCS#8.
pub(crate) const RFC_8463: &str = include_str!("testdata/rfc8463.pem");

fn error(pem: &str) -> KeyError {
    SigningKey::from_pem(pem).unwrap_err()
}

#[test]
fn both_forms_of_an_rsa_key_are_the_same_key() {
    let pkcs8 = SigningKey::from_pem(RSA_PKCS8).unwrap();
    let pkcs1 = SigningKey::from_pem(include_str!("testdata/rsa_pkcs1.pem")).unwrap();
    assert_eq!(pkcs8.algorithm(), Algorithm::Rsa);
    assert_eq!(pkcs8.public_key(), pkcs1.public_key());
    // What OpenSSL says is the public key.
    let body: String = RSA_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    use base64::Engine as _;
    let public = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    assert_eq!(pkcs8.public_key(), public);
}

#[test]
fn a_key_is_written_as_openssl_writes_it() {
    assert_eq!(
        *SigningKey::from_pem(RSA_PKCS8).unwrap().to_pem().unwrap(),
        RSA_PKCS8
    );
    assert_eq!(
        *SigningKey::from_pem(RFC_8463).unwrap().to_pem().unwrap(),
        RFC_8463
    );
}

#[test]
fn new_keys_can_be_read_back() {
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let key = SigningKey::generate(algorithm).unwrap();
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(again.algorithm(), algorithm);
        assert_eq!(key.public_key(), again.public_key());
        let other = SigningKey::generate(algorithm).unwrap();
        assert_ne!(key.public_key(), other.public_key());
    }
}

#[test]
fn text_around_the_block_does_not_matter() {
    let text = format!(
        "Bag Attributes\r\n  a: b\n{RSA_PUBLIC}{}\n\n",
        RSA_PKCS8.replace('\n', "\r\n")
    );
    assert!(SigningKey::from_pem(&text).is_ok());
}

#[test]
fn what_cannot_sign_is_refused_by_its_name() {
    let cut = &RSA_PKCS8[..RSA_PKCS8.len() / 2];
    let cases = [
        ("", KeyError::NotPem),
        ("MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v", KeyError::NotPem),
        (cut, KeyError::DamagedPem),
        (&RFC_8463.replace("MC4C", "M*4C"), KeyError::DamagedPem),
        (
            &RFC_8463.replace("END PRIVATE", "END RSA PRIVATE"),
            KeyError::DamagedPem,
        ),
        (&RFC_8463.replace("MC4C", "MC5C"), KeyError::Damaged),
        (&format!("{RFC_8463}{RSA_PKCS8}"), KeyError::Several),
        (RSA_PUBLIC, KeyError::Public),
        (
            include_str!("testdata/rsa_pkcs8_encrypted.pem"),
            KeyError::Encrypted,
        ),
        (
            include_str!("testdata/rsa_pkcs1_encrypted.pem"),
            KeyError::Encrypted,
        ),
        (include_str!("testdata/rsa_1024.pem"), KeyError::TooSmall),
        (include_str!("testdata/rsa_4104.pem"), KeyError::TooLarge),
        (include_str!("testdata/ec_pkcs8.pem"), KeyError::OtherAlgorithm),
        (
            include_str!("testdata/ec_sec1.pem"),
            KeyError::OtherBlock("EC PRIVATE KEY".to_owned()),
        ),
    ];
    for (pem, wanted) in cases {
        assert_eq!(error(pem), wanted, "{pem}");
    }
}

#[test]
fn an_rsa_key_whose_parts_do_not_fit_is_refused() {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let body: String = RSA_PKCS8.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = base64.decode(body).unwrap();
    // In the middle of the private exponent.
    der[400] ^= 1;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64.encode(der)
    );
    assert_eq!(error(&pem), KeyError::Damaged);
}

#[test]
fn debug_shows_no_secret() {
    let key = SigningKey::from_pem(RFC_8463).unwrap();
    assert_eq!(format!("{key:?}"), "SigningKey(ed25519)");
}
