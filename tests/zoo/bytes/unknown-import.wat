;; The smallest component with an import that no host knows.
(component
  (import "evil:thing/door@1.0.0" (instance (export "open" (func (result u32))))))
