module echo-wasm

go 1.24
