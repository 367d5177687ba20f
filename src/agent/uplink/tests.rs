use super::*;

#[test]
fn a_later_start_has_a_greater_boot_id() {
    let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
    let earlier = boot_id(now, u64::MAX);
    let later = boot_id(now + Duration::from_millis(1), 0);
    assert!(later > earlier);
    assert_ne!(boot_id(now, 0), boot_id(now, u64::MAX));
}
