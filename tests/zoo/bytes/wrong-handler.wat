;; A component whose `handler` has another type than the contract's.
(component
  (core module $m (func (export "f") (result i32) i32.const 7))
  (core instance $i (instantiate $m))
  (func $f (result u32) (canon lift (core func $i "f")))
  (instance $handler (export "handle" (func $f)))
  (export "bugle:plugin/handler@0.1.0" (instance $handler))
  (export "bugle:plugin/lifecycle@0.1.0" (instance $handler)))
