;; The smallest component that traps while it is instantiated.
(component
  (core module $m (func $start unreachable) (start $start))
  (core instance (instantiate $m)))
