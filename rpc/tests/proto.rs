//! Aim: clients that were generated from an older proto go on working. Method: everything that is on the wire (services,
//! methods, field numbers and types, enum numbers) is listed from the descriptors and compared with the list in
//! `golden/proto.txt`. A line that is gone or changed breaks clients; a new line is added to the file.

use std::fmt::Write;

use hypermnesia_rpc::proto::DESCRIPTORS;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

#[test]
fn what_is_on_the_wire_is_what_it_was() {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("what build.rs wrote");
    let mut listed = String::new();
    for file in set.file.iter().filter(|file| file.package() == "hypermnesia.v1") {
        file.service.iter().for_each(|service| list_service(&mut listed, service));
        file.message_type.iter().for_each(|message| list_message(&mut listed, message));
        file.enum_type.iter().for_each(|numbers| list_enum(&mut listed, numbers));
    }
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    let golden: Vec<_> = include_str!("golden/proto.txt").lines().collect();
    let gone: Vec<_> = golden.iter().filter(|line| !listed.contains(line)).collect();
    let new: Vec<_> = listed.iter().filter(|line| !golden.contains(line)).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}\nnew (add them to the file, sorted): {new:#?}"
    );
}

#[test]
fn everything_has_a_comment() {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("what build.rs wrote");
    for file in set.file.iter().filter(|file| file.package() == "hypermnesia.v1") {
        let places = &file.source_code_info.as_ref().expect("comments are kept").location;
        // Declarations of messages (4), enums (5) and services (6), and what stands in them, but not parts of those.
        let declared =
            places.iter().filter(|place| matches!(place.path.as_slice(), [4..=6, _] | [4..=6, _, 2, _]));
        for place in declared {
            let comment = place.leading_comments().trim();
            assert!(!comment.is_empty(), "{} line {} has no comment", file.name(), place.span[0] + 1);
        }
    }
}

fn list_service(out: &mut String, service: &ServiceDescriptorProto) {
    for method in &service.method {
        let stream = |on: bool| if on { "stream " } else { "" };
        let (input, output) = (stream(method.client_streaming()), stream(method.server_streaming()));
        let (name, method_name) = (service.name(), method.name());
        writeln!(
            out,
            "rpc {name}.{method_name}({input}{}) -> {output}{}",
            method.input_type(),
            method.output_type()
        )
        .expect("text grows");
    }
}

fn list_message(out: &mut String, message: &DescriptorProto) {
    for field in &message.field {
        writeln!(out, "message {}.{} = {} {}", message.name(), field.name(), field.number(), type_of(field))
            .expect("text grows");
    }
    if message.field.is_empty() {
        writeln!(out, "message {} (empty)", message.name()).expect("text grows");
    }
}

fn list_enum(out: &mut String, numbers: &EnumDescriptorProto) {
    for value in &numbers.value {
        writeln!(out, "enum {}.{} = {}", numbers.name(), value.name(), value.number()).expect("text grows");
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    match field.r#type() {
        Type::Message | Type::Enum => format!("{repeated}{}", field.type_name()),
        scalar => format!("{repeated}{}", scalar.as_str_name()),
    }
}
