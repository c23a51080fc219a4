// There is an assembly file, so the compiler lets functions of this package have no body: see inside.go.
