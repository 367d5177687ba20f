use serde_json::json;

use super::*;

const NOON: u64 = 1_800_000_000;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn claims() -> TokenClaims {
    TokenClaims {
        id: TokenId::from_random(1),
        group: GroupId::from_random(2),
        customer: Some(CustomerId::from_random(3)),
        org_only: false,
        issued_at: NOON,
        not_before: None,
        expires_at: NOON + 3600,
        max_uses: Some(3),
        generation: 7,
    }
}

/// Signs anything at all with `key`, past every check of ours.
fn sign(key: &TokenKey, said: &serde_json::Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), said, &key.signing).unwrap()
}

fn said() -> serde_json::Value {
    let mut said = serde_json::to_value(claims()).unwrap();
    said["iss"] = ISSUER.into();
    said["aud"] = AUDIENCE.into();
    said
}

#[test]
fn a_token_says_what_was_signed() {
    let key = TokenKey::generate().unwrap();
    let org_only = TokenClaims { customer: None, org_only: true, max_uses: None, ..claims() };
    for claims in [claims(), org_only] {
        let text = key.issue(&claims).unwrap();
        assert_eq!(key.verify(&format!(" {text}\n"), at(NOON)).unwrap(), claims);
        assert_eq!(key.verifier().verify(&text, at(NOON)).unwrap(), claims);
    }
}

#[test]
fn a_token_is_a_jwt_with_the_agreed_names() {
    let key = TokenKey::generate().unwrap();
    let token =
        jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(key.issue(&claims()).unwrap()).unwrap();
    assert_eq!(token.header.alg, Algorithm::EdDSA);
    assert_eq!(
        token.claims,
        json!({
            "iss": "warren-gateway", "aud": "warren-enrol", "jti": "tok-0000000001", "sub": "grp-0000000002",
            "cus": "cus-0000000003", "org_only": false, "iat": NOON, "exp": NOON + 3600, "max_uses": 3, "gen": 7,
        })
    );
}

#[test]
fn times_are_judged_to_the_second_and_at_the_time_given() {
    let key = TokenKey::generate().unwrap();
    let text = key.issue(&TokenClaims { not_before: Some(NOON + 10), ..claims() }).unwrap();
    let verify = |seconds| key.verify(&text, at(seconds));
    assert!(matches!(verify(NOON + 9), Err(TokenError::NotYetValid { at: when }) if when == at(NOON + 10)));
    assert!(verify(NOON + 10).is_ok());
    assert!(verify(NOON + 3599).is_ok());
    assert!(matches!(verify(NOON + 3600), Err(TokenError::Expired { at: when }) if when == at(NOON + 3600)));
}

#[test]
fn another_key_or_a_changed_token_is_a_bad_signature() {
    let key = TokenKey::generate().unwrap();
    let theirs = TokenKey::generate().unwrap().issue(&claims()).unwrap();
    assert!(matches!(key.verify(&theirs, at(NOON)), Err(TokenError::BadSignature)));

    let text = key.issue(&claims()).unwrap();
    let other = key.issue(&TokenClaims { generation: 8, ..claims() }).unwrap();
    let parts: Vec<_> = text.split('.').zip(other.split('.')).collect();
    let mixed = format!("{}.{}.{}", parts[0].0, parts[1].1, parts[2].0);
    assert!(matches!(key.verify(&mixed, at(NOON)), Err(TokenError::BadSignature)));
    // Even a signed-looking token that has expired says nothing but that it is not ours.
    assert!(matches!(key.verify(&theirs, at(NOON * 2)), Err(TokenError::BadSignature)));
}

#[test]
fn no_other_algorithm_is_believed() {
    let key = TokenKey::generate().unwrap();
    // The classic: the public key used as a shared secret.
    let secret = EncodingKey::from_secret(key.verifier.public_key());
    let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &said(), &secret).unwrap();
    assert!(matches!(key.verify(&forged, at(NOON)), Err(TokenError::BadSignature)));
    // {"alg":"none"}
    let body = forged.split('.').nth(1).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    assert!(matches!(key.verify(&unsigned, at(NOON)), Err(TokenError::Malformed)));
}

#[test]
fn a_token_for_something_else_is_refused() {
    let key = TokenKey::generate().unwrap();
    for (claim, value) in [("aud", json!("warren-admin")), ("aud", json!(null)), ("iss", json!("somebody"))] {
        let mut said = said();
        said[claim] = value;
        assert!(
            matches!(key.verify(&sign(&key, &said), at(NOON)), Err(TokenError::WrongAudience)),
            "{claim}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_malformed() {
    let key = TokenKey::generate().unwrap();
    let text = key.issue(&claims()).unwrap();
    for odd in ["", "a.b.c", "hello", &text[..text.len() / 2], &format!("{text}.x"), &"x".repeat(5000)] {
        assert!(matches!(key.verify(odd, at(NOON)), Err(TokenError::Malformed)), "{odd}");
    }
    for claim in ["sub", "jti", "exp", "iat", "gen"] {
        let mut said = said();
        said.as_object_mut().unwrap().remove(claim);
        assert!(matches!(key.verify(&sign(&key, &said), at(NOON)), Err(TokenError::Malformed)), "{claim}");
    }
    for (claim, value) in [("exp", json!(-1)), ("exp", json!(u64::MAX)), ("sub", json!("agt-0000000001"))] {
        let mut said = said();
        said[claim] = value;
        assert!(matches!(key.verify(&sign(&key, &said), at(NOON)), Err(TokenError::Malformed)), "{claim}");
    }
}

#[test]
fn a_token_has_one_owner() {
    let key = TokenKey::generate().unwrap();
    let both = TokenClaims { org_only: true, ..claims() };
    assert!(matches!(key.issue(&both), Err(TokenError::TwoOwners)));
    let mut said = said();
    said["org_only"] = true.into();
    assert!(matches!(key.verify(&sign(&key, &said), at(NOON)), Err(TokenError::TwoOwners)));
}

#[test]
fn a_stored_key_comes_back_and_only_under_its_operator_key() {
    let operator = OperatorKey::from_text(&"a".repeat(32)).unwrap();
    let key = TokenKey::generate().unwrap();
    let stored = key.export(&operator).unwrap();
    let read = TokenKey::import(&stored, &operator).unwrap();
    assert!(key.verify(&read.issue(&claims()).unwrap(), at(NOON)).is_ok());
    let other = OperatorKey::from_text(&"b".repeat(32)).unwrap();
    let error = TokenKey::import(&stored, &other).unwrap_err();
    assert!(matches!(error, TokenError::Seal(SealError::WrongKey { .. })), "{error}");
    assert!(!format!("{key:?}").contains("["), "debug shows no bytes");
}
