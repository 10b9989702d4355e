;; A core module, not a component, though with a promising export.
(module
  (func (export "bugle:plugin/handler@0.1.0#handle") (param i32) (result i32) i32.const 0))
