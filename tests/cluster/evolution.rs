//! Changes of whole tables on three members while all of them write.

use hypermnesia::{Attribute, Error, Node, Storage, TableDef, Type, Value};

use crate::trio::Trio;

fn numbers(id: i64, n: i64) -> [Value; 2] {
    [id.into(), n.into()]
}

#[test]
fn members_follow_while_they_write() {
    // Aim: more attributes, a transform, a rename and a clear, asked of different members while every member writes, lose no
    // write and leave all copies equal, also after the crash of all. Method: writers that write what fits the definition they
    // see; the changes; then the rows of all members, compared.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let define = |name: &str| {
        let ids: Vec<_> = (0..3).map(|at| trio.node(at).id()).collect();
        let definition = TableDef::builder(name).attribute("id", Type::Int).attribute("n", Type::Int);
        ids.into_iter().fold(definition, |definition, id| definition.copy(id, Storage::Disc))
    };
    let t = trio.node(0).create_table(define("t")).expect("all members are up");
    let old = trio.node(0).create_table(define("old")).expect("all members are up");
    (0..200).for_each(|id| old.insert(&numbers(id, id)).expect("written"));
    drop((t, old));
    std::thread::scope(|scope| {
        for at in 0..3_i64 {
            let node: &Node = trio.node(at as usize);
            let own = node.dyn_table("t").expect("there");
            scope.spawn(move || {
                for n in 0..300 {
                    let id = at * 1_000 + n;
                    let short = numbers(id, n);
                    let long = [id.into(), n.into(), Value::from("own")];
                    // The definition changes in between: whichever of the two fits is written.
                    while let Err(error) = own.insert(&short).or_else(|_| own.insert(&long)) {
                        assert!(matches!(error, Error::Row(_) | Error::SchemaChanged { .. }), "{error}");
                    }
                }
            });
        }
        let added =
            Attribute { name: "more".into(), ty: Type::Text, nullable: false, default: Some("x".into()) };
        trio.node(1).add_attributes("t", &[added]).expect("all members are up");
        let wider = TableDef::builder("old").attribute("id", Type::Int).attribute("n", Type::Text);
        let text = |row: Vec<Value>| Ok(vec![row[0].clone(), format!("{}", row[1]).into()]);
        trio.node(2).transform("old", wider, text).expect("all members are up");
        trio.node(0).rename_table("old", "new").expect("all members are up");
    });
    for life in 0..2 {
        let all = |name: &str| -> Vec<Vec<Vec<Value>>> {
            let rows = |at: usize| {
                let mut rows = trio.node(at).dyn_table(name).expect("there").to_vec().expect("read");
                rows.sort();
                rows
            };
            (0..3).map(rows).collect()
        };
        let (t, new) = (all("t"), all("new"));
        assert!(
            t.windows(2).all(|two| two[0] == two[1]) && new.windows(2).all(|two| two[0] == two[1]),
            "life {life}"
        );
        assert_eq!((t[0].len(), new[0].len()), (900, 200), "life {life}: none is lost");
        assert!(t[0].iter().all(|row| row[2] == "x".into() || row[2] == "own".into()));
        assert!(new[0].iter().all(|row| row[1] == format!("{}", row[0]).into()));
        assert!(trio.node(1).dyn_table("old").is_err());
        trio.crash(&[0, 1, 2]);
        (0..3).for_each(|at| trio.restart(at));
        trio.settle();
    }
    trio.node(2).dyn_table("t").expect("there").clear().expect("all members are up");
    for _ in 0..2 {
        (0..3).for_each(|at| {
            assert_eq!(trio.node(at).dyn_table("t").expect("there").len(), Ok(0), "member {at}")
        });
        trio.crash(&[0, 1, 2]);
        (0..3).for_each(|at| trio.restart(at));
        trio.settle();
    }
}

#[test]
fn a_local_table_is_cleared_on_one_member_alone() {
    // Aim: the rows of a local table are each member's own, on disc too. Method: rows on all, a clear on one, a restart of all.
    let homes: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut trio = Trio::start_on(Some(homes.iter().map(|home| home.path().to_owned()).collect()));
    let definition = TableDef::builder("own").attribute("id", Type::Int).attribute("n", Type::Int).local();
    let definition = (0..3).fold(definition, |def, at| def.copy(trio.node(at).id(), Storage::Disc));
    trio.node(0).create_table(definition).expect("all members are up");
    let own = |trio: &Trio, at: usize| trio.node(at).dyn_table("own").expect("there");
    for at in 0..3 {
        (0..100).for_each(|id| own(&trio, at).insert(&numbers(id, at as i64)).expect("written"));
    }
    own(&trio, 1).clear().expect("nobody else is asked");
    own(&trio, 1).insert(&numbers(7, 7)).expect("written behind");
    for _ in 0..2 {
        assert_eq!([0, 1, 2].map(|at| own(&trio, at).len().expect("read")), [100, 1, 100]);
        trio.crash(&[0, 1, 2]);
        (0..3).for_each(|at| trio.restart(at));
        trio.settle();
    }
}
