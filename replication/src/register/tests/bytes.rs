//! What lies in the logs and snapshots of a control plane stays readable.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One command of each kind.
fn commands() -> Vec<Command> {
    let witness = Enlisting { name: "w".into(), address: "w:2".into(), role: Role::Witness, raft: Some(300) };
    let data = Enlisting { name: "a".into(), address: "a:1".into(), role: Role::Data, raft: None };
    let (a, w) = (node("a"), node("w"));
    let readdress = Change::Readdress { node: a, address: "b:3".into(), raft: Some(1) };
    let changes =
        [readdress, Change::Drain(a), Change::Undrain(a), Change::Enlist(witness), Change::Strike(w)];
    let mut commands = vec![Command::Found {
        cluster: 1 << 100,
        name: "c".into(),
        nodes: vec![data],
        slots: Vec::new(),
        carried: None,
        floor: 0,
    }];
    let changes = changes.into_iter().zip(1..).map(|(change, seen)| Command::Roster { seen, change });
    commands.extend(changes);
    commands.push(agree(1, &[("a", 9)], Cause::Founded));
    commands.push(Command::Open {
        number: 1,
        opening: Opening { stamp: Timestamp(5), unserved: vec![(TableId(2), 0)] },
    });
    let whys = [Cause::Lost, Cause::Joined, Cause::Left, Cause::Restarted, Cause::Schema];
    commands.extend(whys.into_iter().zip(2..).map(|(why, number)| agree(number, &[("a", 9)], why)));
    commands
}

const COMMANDS: [&str; 13] = [
    "486d0152010020000000bc6d3f0700fe00000000000000000000000010000000016301016103613a310000000000",
    "486d015201000e00000080077908010101fc43beb7e803623a330101",
    "486d01520100080000009bcde560010202fc43beb7e8",
    "486d01520100080000008a15ce0d010303fc43beb7e8",
    "486d015201000e00000066b965db010400017703773a320101fb2c01",
    "486d01520100080000002a72bb9c010504fc120b631c",
    "486d015201000a0000000760205a020101fc43beb7e80900",
    "486d0152010006000000f2e95ad2030105010200",
    "486d015201000a000000546caa14020201fc43beb7e80901",
    "486d015201000a000000ad29d89a020301fc43beb7e80902",
    "486d015201000a000000f274be89020401fc43beb7e80903",
    "486d015201000a00000012f5a100020501fc43beb7e80904",
    "486d015201000a00000041f92b4e020601fc43beb7e80905",
];

const REGISTER: &str = "486d0352010071000000a4e8dc8e0d01fe0000000000000000000000001000000001630201fc43beb7e801\
    6103623a330001010000000606010001fc43beb7e809000105010200020101fc43beb7e8090100030101fc\
    43beb7e8090200040101fc43beb7e8090300050101fc43beb7e8090400060101fc43beb7e809050000";

#[test]
fn commands_and_snapshot_keep_their_bytes() {
    // Aim: a log of this version is read by each later one. Method: golden bytes of all commands and of the register after
    // them; each has the envelope "Hm", kind, version 1, length and checksum in front.
    let mut register = Register::default();
    for (command, golden) in commands().iter().zip(COMMANDS) {
        assert_eq!(register.apply(command), Answer::Done, "{command:?}");
        assert_eq!(hex(&command.encode()), golden, "{command:?}");
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(command));
    }
    assert_eq!(hex(&register.encode()), REGISTER);
    assert_eq!(Register::decode(&register.encode()), Ok(register));
}

#[test]
fn what_founders_bring_keeps_its_bytes() {
    // Aim: the same for a founding that goes on from a former epoch. Method: golden bytes of it and of its register.
    let found = founding_with(&["a"], Some(carried(7, &[("a", 4)], &[(2, 6)])));
    let mut register = Register::default();
    assert_eq!(register.apply(&found), Answer::Done);
    assert_eq!(
        hex(&found.encode()),
        "486d0152010024000000e26d94af000701630101610b612e746573743a34373131000000010701fc43beb7e8\
    040901020600"
    );
    let sealed = "486d035201002f000000d076983701010701630101fc43beb7e801610b612e746573743a34373131000000\
        0001070001fc43beb7e80400010901020607";
    assert_eq!(hex(&register.encode()), sealed);
    assert_eq!(Command::decode(&found.encode()), Ok(found));
}

#[test]
fn answers_keep_their_bytes() {
    // Aim: the same for what a proposer hears. Method: golden bytes of the plain ones, the first and the last refusal.
    let last = Refusal::TooManyUnserved { tables: 5 };
    for (answer, golden) in [
        (Answer::Done, "486d0252010001000000bf38f78100"),
        (Answer::Already, "486d02520100010000002908f0f601"),
        (Answer::Refused(Refusal::NotFounded), "486d025201000200000084a6ff3d0200"),
        (Answer::Refused(last), "486d0252010003000000bbe9188f021305"),
    ] {
        assert_eq!(hex(&answer.encode()), golden, "{answer:?}");
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    // Aim: no panic, and nothing taken for what it is not. Method: every byte changed, every length cut, another kind, a later
    // version.
    let sealed = opened().encode();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(Register::decode(&changed).is_err(), "byte {at} changed unnoticed");
        assert!(Register::decode(&sealed[..at]).is_err(), "cut at {at} unnoticed");
    }
    assert!(matches!(Command::decode(&sealed), Err(RegisterError::Unreadable { what: "a command", .. })));
    let later = codec::seal(REGISTER_KIND, FORMAT + 1, &[]);
    assert_eq!(
        Register::decode(&later),
        Err(RegisterError::Version { what: "a register", found: FORMAT + 1 })
    );
    let (_, payload) = codec::open(REGISTER_KIND, &sealed).expect("sealed");
    for at in 0..payload.len() {
        for bit in 0..8 {
            let mut changed = payload.to_vec();
            changed[at] ^= 1 << bit;
            if let Ok(register) = Register::decode(&codec::seal(REGISTER_KIND, FORMAT, &changed)) {
                assert_eq!(register.is_sound(), Ok(()));
            }
        }
    }
}

#[test]
fn an_unsound_register_is_not_loaded() {
    // Aim: each invariant is looked at when a snapshot is loaded. Method: break one at a time in memory.
    let mut sound = opened();
    sound.apply(&agree(2, &[("a", 1)], Cause::Lost));
    sound.changed(Change::Enlist(enlisting("d")));
    sound.changed(Change::Strike(node("d")));
    assert_eq!(Register::decode(&seal(REGISTER_KIND, &sound)), Ok(sound.clone()));
    let unsound = |spoil: fn(&mut Register), why: &str| {
        let mut register = sound.clone();
        spoil(&mut register);
        match Register::decode(&seal(REGISTER_KIND, &register)) {
            Err(RegisterError::Unsound(found)) => assert!(found.contains(why), "{found}"),
            other => panic!("{why}: {other:?}"),
        }
    };
    unsound(|register| register.cluster = None, "never founded");
    unsound(|register| register.revision = 0, "to come");
    unsound(|register| register.roster.spoil(|one| one.name.push('x')), "none");
    unsound(|register| register.roster.spoil(|one| one.address.clear()), "none");
    unsound(|register| register.roster.spoil(|one| one.raft = Some(1)), "two nodes are one");
    unsound(|register| register.roster.spoil(|one| one.role = Role::Witness), "data node");
    unsound(|register| register.chain.spoil(|epochs| epochs[1].number = 3), "dense");
    unsound(|register| register.chain.spoil(|epochs| epochs[1].parent = 0), "go on");
    unsound(|register| register.chain.spoil(|epochs| epochs[1].why = Cause::Founded), "go on");
    unsound(|register| register.chain.spoil(|epochs| epochs[0].members.reverse()), "by id");
    unsound(|register| register.chain.spoil(|epochs| epochs[1].members[0].node = NodeId(5)), "data node");
    let unserved = |epochs: &mut Vec<Agreed>| {
        epochs[0].opening = Some(Opening { stamp: Timestamp(1), unserved: vec![(TableId(1), 1)] });
    };
    let mut register = sound.clone();
    register.chain.spoil(unserved);
    assert!(register.is_sound().is_err_and(|why| why.contains("tables")));
}
