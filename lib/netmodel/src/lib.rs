//! Services, EndpointSlices and pods in; the tables that one node should hold out.
