// Cosine of two rows of x, 0 with a zero row. Needs x[], lengths[] and dim.
float cosine(uint a, uint b) {
  if (lengths[a] == 0 || lengths[b] == 0) return 0;
  float sum = 0;
  for (uint d = 0; d < dim; ++d) sum += x[a * dim + d] * x[b * dim + d];
  return sum / lengths[a] / lengths[b];
}
