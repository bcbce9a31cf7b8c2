//! The generated messages and services of `proto/hypermnesia/v1`. Nothing is written by hand here.

#![cfg_attr(feature = "server", expect(clippy::allow_attributes, reason = "the generators write them"))]

tonic::include_proto!("hypermnesia.v1");

/// The parsed proto files (a serialized `google.protobuf.FileDescriptorSet`, comments included), as the reflection service
/// serves them.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("hypermnesia.v1");
