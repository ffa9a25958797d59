// The circuits by number. An unsigned one works through sign and magnitude: the sign of 0 is +, the
// magnitude of -128 is 128.
`default_nettype wire

module multiplier #(
  parameter CIRCUIT = 0,
  parameter SWAPPED = 0
) (
  input wire signed [7:0] activation,
  input wire signed [7:0] weight,
  output wire signed [16:0] product
);
  wire signed [7:0] first = SWAPPED ? weight : activation;
  wire signed [7:0] second = SWAPPED ? activation : weight;
  wire [7:0] first_magnitude = first[7] ? -first : first;
  wire [7:0] second_magnitude = second[7] ? -second : second;
  wire sign = first[7] ^ second[7];

  generate
$circuits
  endgenerate
endmodule
