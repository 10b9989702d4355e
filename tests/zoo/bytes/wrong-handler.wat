;; A component whose `handle` has another type than the contract's; its `check` is right.
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "handle") (result i32) i32.const 7)
    (func (export "check") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $handle (result u32) (canon lift (core func $i "handle")))
  (func $check (result (result (error string))) (canon lift (core func $i "check") (memory (core memory $i "memory"))))
  (instance $handler (export "handle" (func $handle)))
  (instance $lifecycle (export "check" (func $check)))
  (export "bugle:plugin/handler@0.1.0" (instance $handler))
  (export "bugle:plugin/lifecycle@0.1.0" (instance $lifecycle)))
