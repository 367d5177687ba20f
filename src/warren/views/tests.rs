//! Each kind of result as people and as programs get it. Times are left unknown, for distances change while one waits.

use serde_json::{Value, json};
use warren_wire::v1;

use super::*;
use crate::output::{List, Page, Row, View};

fn page(view: &impl View) -> String {
    let mut page = Page::new(false);
    view.page(&mut page);
    page.finish()
}

fn table<T: Row>(item: T) -> String {
    page(&List(vec![item]))
}

fn data(view: &impl Serialize) -> Value {
    let value = serde_json::to_value(view).unwrap();
    let yaml = serde_saphyr::to_string(view).unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), value, "YAML says the same as JSON:\n{yaml}");
    value
}

fn agent() -> Agent {
    Agent::from(v1::Agent {
        id: "agt-1".into(),
        name: "site-a".into(),
        group: "site".into(),
        status: "Active".into(),
        tunnels: 2,
        version: "0.1.0".into(),
        peer_address: "10.0.0.1:7400".into(),
        ..Default::default()
    })
}

#[test]
fn agents() {
    assert_eq!(
        table(agent()),
        "ID     NAME    GROUP  STATUS  TUNNELS  SESSIONS  ENROLLED  CERTIFICATE ENDS\n\
         agt-1  site-a  site   Active  2        0         -         -\n"
    );
    assert!(page(&agent()).contains("peer address  10.0.0.1:7400\n"));
    assert_eq!(
        data(&agent()),
        json!({"id": "agt-1", "name": "site-a", "group": "site", "status": "Active", "tunnels": 2, "sessions": 0,
               "version": "0.1.0", "peer_address": "10.0.0.1:7400", "enrolled": null, "certificate_expires": null})
    );
}

#[test]
fn customers() {
    let customer = || {
        let groups = vec!["a".into(), "b".into()];
        Customer::from(v1::Customer { id: "cus-1".into(), name: "acme".into(), created_s: 0, groups })
    };
    assert_eq!(table(customer()), "ID     NAME  GROUPS  CREATED\ncus-1  acme  a, b    -\n");
    assert_eq!(page(&customer()), "id      cus-1\nname    acme\ngroups  a, b\n");
    assert_eq!(data(&customer())["groups"], json!(["a", "b"]));
}

#[test]
fn groups() {
    let group = |customer: &str| {
        let state = "Healthy".into();
        let (id, name) = ("grp-1".into(), "site".into());
        Group::from(v1::Group { id, name, customer: customer.into(), created_s: 0, state, agents: 3 })
    };
    assert_eq!(
        table(group("acme")),
        "ID     NAME  CUSTOMER  STATE    AGENTS  CREATED\ngrp-1  site  acme      Healthy  3       -\n"
    );
    assert!(page(&group("")).contains("customer  none (org-only)\n"));
    assert_eq!(data(&group(""))["customer"], Value::Null);
}

#[test]
fn resources() {
    let resource = || {
        Resource::from(v1::ResourceView {
            name: "db".into(),
            group: "site".into(),
            target: "db.corp:5432".into(),
            policy: "p2c".into(),
            listen: "127.0.0.1:5432".into(),
            revision: 4,
            members_up: 2,
            members: 3,
            ..Default::default()
        })
    };
    assert_eq!(
        table(resource()),
        "RESOURCE  GROUP  LISTEN          TARGET        POLICY  UP   REVISION  DESCRIPTION\n\
         db        site   127.0.0.1:5432  db.corp:5432  p2c     2/3  4         -\n"
    );
    assert!(page(&resource()).contains("up        through 2 of 3 members\n"));
    assert_eq!(
        (data(&resource())["members_up"].clone(), data(&resource())["members"].clone()),
        (json!(2), json!(3))
    );
}

#[test]
fn tokens() {
    let token = |max_uses| {
        let (id, group, state) = ("tok-1".into(), "site".into(), "active".into());
        Token::from(v1::Token { id, group, state, max_uses, uses: 1, generation: 2, ..Default::default() })
    };
    assert_eq!(
        table(token(3)),
        "ID     GROUP  CUSTOMER  STATE   USES    GENERATION  CREATED  EXPIRES\n\
         tok-1  site   -         active  1 of 3  2           -        -\n"
    );
    assert!(table(token(0)).contains("  1     2"), "no limit is not told as one");
    assert_eq!(data(&token(0))["max_uses"], Value::Null);
    assert_eq!((token(0).limit().as_str(), token(1).limit().as_str()), ("any number of agents", "one agent"));
    let new = NewToken { token: "eyJ".into(), info: token(3) };
    assert_eq!((&data(&new)["token"], &data(&new)["id"]), (&json!("eyJ"), &json!("tok-1")));
}

#[test]
fn users_and_their_deeds() {
    let user = || {
        let (id, name, role) = ("usr-1".into(), "ann".into(), "viewer".into());
        User::from(v1::User { id, name, role, created_s: 0 })
    };
    assert_eq!(table(user()), "ID     NAME  ROLE    CREATED\nusr-1  ann   viewer  -\n");
    let new = NewUser { token: "wrn_x".into(), user: user() };
    assert_eq!((&data(&new)["token"], &data(&new)["role"]), (&json!("wrn_x"), &json!("viewer")));
    let (who, action) = ("ann".into(), "groups.create".into());
    let entry = AuditEntry::from(v1::AuditEntry {
        at_ms: 0,
        who,
        action,
        subject: "site".into(),
        outcome: "permission denied".into(),
    });
    assert_eq!(data(&entry)["outcome"], "permission denied");
    assert_eq!(
        table(entry),
        "WHEN  WHO  ACTION         SUBJECT  OUTCOME\n-     ann  groups.create  site     permission denied\n"
    );
}

#[test]
fn configs() {
    let document = "resources:\n  db:\n    target: h:1\n".to_owned();
    let shown =
        ConfigDocument { group: "site".into(), revision: 4, config: json!({"resources": {}}), document };
    assert_eq!(page(&shown), shown.document, "people get the document as it can be set again");
    assert_eq!(data(&shown), json!({"group": "site", "revision": 4, "config": {"resources": {}}}));
    let diff = vec!["- resource a".into(), "+ resource b".into()];
    let entry = HistoryEntry::from(v1::HistoryEntry {
        revision: 4,
        author: "ann".into(),
        at_ms: 0,
        diff: diff.clone(),
        document: String::new(),
    });
    assert_eq!(data(&entry), json!({"revision": 4, "author": "ann", "at": null, "diff": diff}));
    assert_eq!(
        table(entry),
        "REVISION  WHEN  AUTHOR  CHANGE\n4         -     ann     - resource a\n                        + resource b\n"
    );
    let differs = ConfigDiff { from: "3".into(), to: "4".into(), diff };
    assert_eq!(page(&differs), "- resource a\n+ resource b\n");
}

#[test]
fn lists_without_items_are_a_header_and_an_empty_array() {
    let none = List::<Agent>(Vec::new());
    assert!(page(&none).starts_with("ID") && page(&none).lines().count() == 1);
    assert_eq!(data(&none), json!([]));
}

#[test]
fn sessions_in_lists() {
    let session = Session::from(v1::Session {
        id: "7".into(),
        group: "site".into(),
        resource: "db".into(),
        caller: "127.0.0.1:9".into(),
        bytes_up: 2_048,
        outcome: "no_member".into(),
        ..Default::default()
    });
    assert_eq!(
        table(session),
        "ID  RESOURCE  CALLER       MEMBER  OPENED  UP       DOWN  OUTCOME    TRIES\n\
         7   site/db   127.0.0.1:9  -       -       2.0 KiB  0 B   no_member  0\n"
    );
}
