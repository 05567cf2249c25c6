// Command regenerate writes the FileDescriptorSet of the xDS API to the file named by its argument.
//
// The Go module of the API carries the descriptor of every .proto file it was generated from, without
// comments. imports.go (written by run.sh) links all of them in; this walks the registry they end up in.
package main

import (
	"fmt"
	"os"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: regenerate OUTPUT")
		os.Exit(2)
	}
	set := collect()
	// Deterministic: the options of a descriptor hold extensions in a Go map.
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot encode the descriptor set:", err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[1], bytes, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write the descriptor set:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d files, %d bytes\n", os.Args[1], len(set.File), len(bytes))
}

// collect returns every registered file, dependencies first, otherwise ordered by path.
func collect() *descriptorpb.FileDescriptorSet {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		files = append(files, file)
		return true
	})
	sort.Slice(files, func(i, j int) bool { return files[i].Path() < files[j].Path() })

	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var visit func(protoreflect.FileDescriptor)
	visit = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		imports := file.Imports()
		for i := range imports.Len() {
			visit(imports.Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	for _, file := range files {
		visit(file)
	}
	return set
}
