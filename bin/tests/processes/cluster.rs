//! Three members: what is written on one is read on all, what is refused when one is gone, and that it comes back equal.

use crate::program::{Server, WAIT, members};

#[test]
fn three_members_agree_lose_one_and_agree_again() {
    // Aim: writes need all members, reads do not, a member comes back equal. Method: write, kill hard, look, restart.
    let list = members(3);
    let start = |name: &str| Server::start(&["--name", name, "--members", &list]);
    let (one, two, mut three) = (start("n1"), start("n2"), start("n3"));
    one.says(&["status", "--wait", WAIT]);
    one.says(&["table", "create", "t", "--attribute", "id:int", "--attribute", "name:text", "--key", "id"]);
    one.says(&["put", "t", "1", "Ada"]);
    for member in [&one, &two, &three] {
        member.says(&["status", "--wait", WAIT]);
        assert_eq!(member.says(&["get", "t", "1", "--format", "csv"]), "id,name\n1,Ada\n");
    }
    three.child.kill().expect("the test holds this");
    three.child.wait().expect("the test holds this");
    let refused = one.hmn(&["put", "t", "2", "Bob"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("n3"), "{refused:?}");
    assert_eq!(two.says(&["get", "t", "1", "--format", "csv"]), "id,name\n1,Ada\n");
    assert_eq!(one.hmn(&["status"]).status.code(), Some(1));
    let three = start("n3");
    for member in [&one, &two, &three] {
        member.says(&["status", "--wait", WAIT]);
    }
    two.says(&["put", "t", "2", "Bob"]);
    assert_eq!(three.says(&["query", "SELECT id FROM t ORDER BY id", "--format", "csv"]), "id\n1\n2\n");
}
